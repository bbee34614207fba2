/** The receipt with its licence key. */
import { type Failure, proofAddress, readLicenseKey, readPurchase, type Receipt } from "./api";
import { updateProof, type Verification, verify } from "./verification";
import { dateTime, explain, licenseName, money, number, part, t, write, writeTime } from "./page";
import type { TextKey } from "./texts";

/** The open receipt: shown after the purchase, or when its address is opened. */
export interface OpenReceipt {
  purchaseId: string;
  justBought: boolean;
  receipt: Receipt | undefined;
  failure: Failure | undefined;
  key: string | undefined;
  keyFailure: Failure | undefined;
  copied: "copied" | "notCopied" | undefined;
  verification: Verification | undefined;
}

const PLACEHOLDER = "–";

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
const verifyProof = part(section, "verify-proof", HTMLButtonElement);
const print = part(section, "print", HTMLButtonElement);

/** The purchase number in an address. It is in the fragment, which browsers do not send, so no log contains it. */
export function purchaseIn(address: Location | URL): string | undefined {
  const purchaseId = new URLSearchParams(address.hash.slice(1)).get("receipt");
  return purchaseId === null || purchaseId === "" ? undefined : purchaseId;
}

export function receiptAddress(purchaseId: string): string {
  return `/#receipt=${encodeURIComponent(purchaseId)}`;
}

export function opened(purchaseId: string, receipt?: Receipt): OpenReceipt {
  return {
    purchaseId,
    justBought: receipt !== undefined,
    receipt,
    failure: undefined,
    key: undefined,
    keyFailure: undefined,
    copied: undefined,
    verification: undefined,
  };
}

/** Loads the receipt and the key unless they are there, and calls `changed` after each step. */
export async function loadMissing(opened: OpenReceipt, changed: () => void): Promise<void> {
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

/** Verifies the proof of the open receipt, and calls `changed` after each step. */
export async function verifyReceipt(opened: OpenReceipt, changed: () => void): Promise<void> {
  if (opened.receipt === undefined || opened.verification?.step === "checking") {
    return;
  }
  opened.verification = { step: "checking" };
  changed();
  opened.verification = await verify(opened.receipt);
  changed();
}

export function listen(handlers: { retry: () => void; verify: () => void; copied: (how: "copied" | "notCopied") => void }): void {
  retry.addEventListener("click", handlers.retry);
  retryKey.addEventListener("click", handlers.retry);
  verifyProof.addEventListener("click", handlers.verify);
  print.addEventListener("click", () => {
    window.print();
  });
  copyKey.addEventListener("click", () => {
    // Browsers provide the clipboard only over TLS and on localhost.
    const clipboard = navigator.clipboard as Clipboard | undefined;
    const copied = clipboard?.writeText(key.textContent) ?? Promise.reject(new Error("no clipboard"));
    copied.then(
      () => {
        handlers.copied("copied");
      },
      () => {
        getSelection()?.selectAllChildren(key);
        handlers.copied("notCopied");
      },
    );
  });
}

export function focusReceipt(): void {
  heading.focus();
}

export function updateReceipt(opened: OpenReceipt | undefined): void {
  section.hidden = opened === undefined;
  if (opened === undefined) {
    return;
  }
  const { failure, receipt } = opened;
  done?.toggleAttribute("hidden", !opened.justBought);
  write(heading, t(headingFor(opened)));
  write(part(section, "receipt-lead", HTMLElement), leadFor(opened));
  alert.hidden = failure === undefined || failure.kind === "missing";
  write(part(alert, "receipt-failure", HTMLElement), failure ? `${t("receipt.failed.detail")} ${explain(failure)}` : "");
  body.hidden = failure !== undefined;
  print.hidden = receipt === undefined;
  retry.hidden = failure === undefined || failure.kind === "missing";
  write(part(section, "more", HTMLElement), t(receipt ? "receipt.more" : "receipt.toShop"));

  write(part(section, "receipt-license", HTMLElement), receipt ? licenseName(receipt.license) : PLACEHOLDER);
  write(part(section, "receipt-price", HTMLElement), receipt ? money(receipt.price) : PLACEHOLDER);
  write(part(section, "receipt-position", HTMLElement), receipt ? number(receipt.position) : PLACEHOLDER);
  write(part(section, "receipt-id", HTMLElement), receipt?.purchaseId ?? PLACEHOLDER);
  const address = new URL(receiptAddress(opened.purchaseId), location.href);
  write(part(section, "receipt-address", HTMLElement), address.href);
  const time = part(section, "receipt-time", HTMLTimeElement);
  if (receipt === undefined) {
    write(time, PLACEHOLDER);
  } else {
    writeTime(time, receipt.purchasedAt, dateTime);
  }
  part(section, "receipt-proof", HTMLAnchorElement).href = proofAddress(opened.purchaseId);
  updateKey(opened);
  verifyProof.disabled = receipt === undefined || opened.verification?.step === "checking";
  updateProof(section, opened.verification);
}

function updateKey(opened: OpenReceipt): void {
  key.classList.toggle("waiting", opened.key === undefined);
  key.hidden = opened.keyFailure !== undefined;
  write(key, opened.key ?? t("key.loading"));
  keyFailure.hidden = opened.keyFailure === undefined;
  write(keyFailure, opened.keyFailure ? t("key.failed", { reason: explain(opened.keyFailure) }) : "");
  copyKey.hidden = opened.keyFailure !== undefined;
  copyKey.disabled = opened.key === undefined;
  retryKey.hidden = opened.keyFailure === undefined;
  write(part(section, "key-copied", HTMLElement), copiedText(opened));
}

function copiedText({ copied }: OpenReceipt): string {
  if (copied === undefined) {
    return "";
  }
  return t(copied === "copied" ? "key.copied" : "key.notCopied");
}

function headingFor({ justBought, receipt, failure }: OpenReceipt): TextKey {
  if (failure !== undefined) {
    return failure.kind === "missing" ? "receipt.missing" : "receipt.failed";
  }
  if (receipt === undefined) {
    return "receipt.loading";
  }
  return justBought ? "receipt.thanks" : "receipt.heading";
}

function leadFor({ failure }: OpenReceipt): string {
  if (failure === undefined) {
    return t("receipt.lead");
  }
  return failure.kind === "missing" ? t("receipt.missing.detail") : "";
}
