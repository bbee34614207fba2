/** One receipt, and the licence key on it. */
import { type Failure, proofAddress, readLicenseKey, readPurchase, type Receipt } from "./api";
import { dateTime, explain, licenseName, money, number, part, say, write, writeTime } from "./page";
import type { TextKey } from "./texts";

/** A receipt that the customer looks at: after the purchase, or because its address was opened. */
export interface Opened {
  purchaseId: string;
  justBought: boolean;
  receipt: Receipt | undefined;
  failure: Failure | undefined;
  key: string | undefined;
  keyFailure: Failure | undefined;
  copied: "copied" | "notCopied" | undefined;
}

const NOTHING_YET = "–";

const section = part(document, "receipt", HTMLElement);
const done = section.querySelector(".done");
const heading = part(section, "receipt-heading", HTMLElement);
const alert = part(section, "receipt-alert", HTMLElement);
const body = part(section, "receipt-body", HTMLElement);
const key = part(section, "key", HTMLElement);
const keyFailure = part(section, "key-failure", HTMLElement);
const copyKey = part(section, "copy-key", HTMLButtonElement);
const retryKey = part(section, "retry-key", HTMLButtonElement);
const retry = part(section, "retry-receipt", HTMLButtonElement);
const print = part(section, "print", HTMLButtonElement);

/** The number of the purchase whose receipt an address leads to. A fragment stays in the browser: no log has it. */
export function purchaseIn(address: Location | URL): string | undefined {
  const purchaseId = new URLSearchParams(address.hash.slice(1)).get("receipt");
  return purchaseId === null || purchaseId === "" ? undefined : purchaseId;
}

export function receiptAddress(purchaseId: string): string {
  return `/#receipt=${encodeURIComponent(purchaseId)}`;
}

export function opened(purchaseId: string, receipt?: Receipt): Opened {
  return {
    purchaseId,
    justBought: receipt !== undefined,
    receipt,
    failure: undefined,
    key: undefined,
    keyFailure: undefined,
    copied: undefined,
  };
}

/** Reads what is missing; the page is told after each step. */
export async function complete(opened: Opened, changed: () => void): Promise<void> {
  opened.failure = undefined;
  opened.keyFailure = undefined;
  changed();
  if (opened.receipt === undefined) {
    const outcome = await readPurchase(opened.purchaseId);
    if (!outcome.ok) {
      opened.failure = outcome.failure;
      changed();
      return;
    }
    opened.receipt = outcome.value;
    changed();
  }
  if (opened.key === undefined) {
    const outcome = await readLicenseKey(opened.purchaseId);
    if (outcome.ok) {
      opened.key = outcome.value;
    } else {
      opened.keyFailure = outcome.failure;
    }
    changed();
  }
}

export function listen(acts: { retry: () => void; copied: (how: "copied" | "notCopied") => void }): void {
  retry.addEventListener("click", acts.retry);
  retryKey.addEventListener("click", acts.retry);
  print.addEventListener("click", () => {
    window.print();
  });
  copyKey.addEventListener("click", () => {
    // Only over TLS and on this machine may a page reach the clipboard.
    const clipboard = navigator.clipboard as Clipboard | undefined;
    const copied = clipboard?.writeText(key.textContent) ?? Promise.reject(new Error("no clipboard"));
    copied.then(
      () => {
        acts.copied("copied");
      },
      () => {
        getSelection()?.selectAllChildren(key);
        acts.copied("notCopied");
      },
    );
  });
}

export function leadToReceipt(): void {
  heading.focus();
}

export function updateReceipt(opened: Opened | undefined): void {
  section.hidden = opened === undefined;
  if (opened === undefined) {
    return;
  }
  const { failure, receipt } = opened;
  done?.toggleAttribute("hidden", !opened.justBought);
  write(heading, say(headingFor(opened)));
  write(part(section, "receipt-lead", HTMLElement), leadFor(opened));
  alert.hidden = failure === undefined || failure.kind === "missing";
  write(part(alert, "receipt-failure", HTMLElement), failure ? `${say("receipt.failed.why")} ${explain(failure)}` : "");
  body.hidden = failure !== undefined;
  print.hidden = receipt === undefined;
  retry.hidden = failure === undefined || failure.kind === "missing";
  write(part(section, "more", HTMLElement), say(receipt ? "receipt.more" : "receipt.toShop"));

  write(part(section, "receipt-license", HTMLElement), receipt ? licenseName(receipt.license) : NOTHING_YET);
  write(part(section, "receipt-price", HTMLElement), receipt ? money(receipt.price) : NOTHING_YET);
  write(part(section, "receipt-position", HTMLElement), receipt ? number(receipt.position) : NOTHING_YET);
  write(part(section, "receipt-id", HTMLElement), receipt?.purchaseId ?? NOTHING_YET);
  const address = new URL(receiptAddress(opened.purchaseId), location.href);
  write(part(section, "receipt-address", HTMLElement), address.href);
  const time = part(section, "receipt-time", HTMLTimeElement);
  if (receipt === undefined) {
    write(time, NOTHING_YET);
  } else {
    writeTime(time, receipt.purchasedAt, dateTime);
  }
  part(section, "receipt-proof", HTMLAnchorElement).href = proofAddress(opened.purchaseId);
  updateKey(opened);
}

function updateKey(opened: Opened): void {
  key.classList.toggle("waiting", opened.key === undefined);
  key.hidden = opened.keyFailure !== undefined;
  write(key, opened.key ?? say("key.loading"));
  keyFailure.hidden = opened.keyFailure === undefined;
  write(keyFailure, opened.keyFailure ? say("key.failed", { reason: explain(opened.keyFailure) }) : "");
  copyKey.hidden = opened.keyFailure !== undefined;
  copyKey.disabled = opened.key === undefined;
  retryKey.hidden = opened.keyFailure === undefined;
  write(part(section, "key-copied", HTMLElement), copiedText(opened));
}

function copiedText({ copied }: Opened): string {
  if (copied === undefined) {
    return "";
  }
  return say(copied === "copied" ? "key.copied" : "key.notCopied");
}

function headingFor({ justBought, receipt, failure }: Opened): TextKey {
  if (failure !== undefined) {
    return failure.kind === "missing" ? "receipt.missing" : "receipt.failed";
  }
  if (receipt === undefined) {
    return "receipt.loading";
  }
  return justBought ? "receipt.thanks" : "receipt.heading";
}

function leadFor({ failure }: Opened): string {
  if (failure === undefined) {
    return say("receipt.lead");
  }
  return failure.kind === "missing" ? say("receipt.missing.why") : "";
}
