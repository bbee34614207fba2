/** The dialog that resets the totals. */
import type { Failure, Reset } from "./api";
import { companyTime, explain, part, t, write } from "./page";

/** A requested reset. It keeps its idempotency key until it succeeds or is cancelled. */
export interface Resetting {
  key: string;
  /** Fixed at the first attempt: a retry is the same reset. */
  reason: string | undefined;
  pending: boolean;
  failure: Failure | undefined;
}

const openReset = part(document, "open-reset", HTMLButtonElement);
const dialog = part(document, "dialog", HTMLDialogElement);
const cancelReset = part(dialog, "cancel-reset", HTMLButtonElement);
const confirmReset = part(dialog, "confirm-reset", HTMLButtonElement);
const resetReason = part(dialog, "reset-reason", HTMLInputElement);
const resetFailure = part(dialog, "reset-failure", HTMLElement);

export function listen(handlers: { open: () => void; cancel: () => void; confirm: (reason: string) => void }): void {
  openReset.addEventListener("click", () => {
    resetReason.value = "";
    handlers.open();
  });
  cancelReset.addEventListener("click", handlers.cancel);
  // Escape fires `cancel`, which is ignored during a request. Some browsers close the dialog at the second press anyway.
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    handlers.cancel();
  });
  dialog.addEventListener("close", handlers.cancel);
  confirmReset.addEventListener("click", () => {
    handlers.confirm(resetReason.value.trim());
  });
}

export function focusConfirm(): void {
  confirmReset.focus();
}

export function updateReset(resetting: Resetting | undefined, lastReset: Reset | undefined, may: boolean): void {
  openReset.hidden = !may;
  if (resetting !== undefined && !dialog.open) {
    dialog.showModal();
  } else if (resetting === undefined && dialog.open) {
    dialog.close();
  }
  const pending = resetting?.pending === true;
  cancelReset.disabled = pending;
  confirmReset.disabled = pending;
  confirmReset.classList.toggle("busy", pending);
  resetReason.readOnly = resetting?.reason !== undefined;
  write(confirmReset, t(confirmText(resetting)));
  resetFailure.hidden = resetting?.failure === undefined || pending;
  write(resetFailure, resetting?.failure ? explain(resetting.failure) : "");

  const done = lastReset ? t("reset.done", { time: companyTime(lastReset.resetAt) }) : "";
  write(part(document, "reset-done", HTMLElement), done);
}

function confirmText(resetting: Resetting | undefined): "reset.pending" | "reset.again" | "reset.confirm" {
  if (resetting?.pending === true) {
    return "reset.pending";
  }
  return resetting?.failure === undefined ? "reset.confirm" : "reset.again";
}
