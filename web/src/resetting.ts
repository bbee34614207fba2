/** The dialog in which the totals are reset. */
import type { Failure, Reset } from "./api";
import { companyTime, explain, part, say, write } from "./page";

/** One reset that the reader has asked for: it keeps its key until it has happened or is given up. */
export interface Resetting {
  key: string;
  /** Fixed at the first attempt: what is tried again is the same reset. */
  reason: string | undefined;
  underWay: boolean;
  failure: Failure | undefined;
}

const openReset = part(document, "open-reset", HTMLButtonElement);
const dialog = part(document, "dialog", HTMLDialogElement);
const cancelReset = part(dialog, "cancel-reset", HTMLButtonElement);
const confirmReset = part(dialog, "confirm-reset", HTMLButtonElement);
const resetReason = part(dialog, "reset-reason", HTMLInputElement);
const resetFailure = part(dialog, "reset-failure", HTMLElement);

export function listen(acts: { open: () => void; giveUp: () => void; confirm: (reason: string) => void }): void {
  openReset.addEventListener("click", () => {
    resetReason.value = "";
    acts.open();
  });
  cancelReset.addEventListener("click", acts.giveUp);
  // The Escape key asks first, and is heard only while nothing is under way; some browsers close at the second press.
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    acts.giveUp();
  });
  dialog.addEventListener("close", acts.giveUp);
  confirmReset.addEventListener("click", () => {
    acts.confirm(resetReason.value.trim());
  });
}

export function leadToConfirmation(): void {
  confirmReset.focus();
}

export function updateReset(resetting: Resetting | undefined, lastReset: Reset | undefined, may: boolean): void {
  openReset.hidden = !may;
  if (resetting !== undefined && !dialog.open) {
    dialog.showModal();
  } else if (resetting === undefined && dialog.open) {
    dialog.close();
  }
  const underWay = resetting?.underWay === true;
  cancelReset.disabled = underWay;
  confirmReset.disabled = underWay;
  confirmReset.classList.toggle("busy", underWay);
  resetReason.readOnly = resetting?.reason !== undefined;
  write(confirmReset, say(confirmText(resetting)));
  resetFailure.hidden = resetting?.failure === undefined || underWay;
  write(resetFailure, resetting?.failure ? explain(resetting.failure) : "");

  const done = lastReset ? say("reset.done", { time: companyTime(lastReset.resetAt) }) : "";
  write(part(document, "reset-done", HTMLElement), done);
}

function confirmText(resetting: Resetting | undefined): "reset.underWay" | "reset.again" | "reset.confirm" {
  if (resetting?.underWay === true) {
    return "reset.underWay";
  }
  return resetting?.failure === undefined ? "reset.confirm" : "reset.again";
}
