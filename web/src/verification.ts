/** The proof on a receipt: verified in the browser, and compared with what the receipt shows. */
import { type Failure, readLogKey, readProof, type Receipt } from "./api";
import { explain, number, part, t, write } from "./page";
import type { Flaw, Proven } from "./proof";

export type Verification =
  | { step: "checking" }
  | { step: "proven"; proven: Proven; key: string }
  | { step: "invalid"; flaw: Flaw }
  | { step: "failed"; failure: Failure }
  | { step: "unsupported" };

export async function verify(receipt: Receipt): Promise<Verification> {
  const [proof, key] = await Promise.all([readProof(receipt.purchaseId), readLogKey()]);
  if (!proof.ok) {
    return { step: "failed", failure: proof.failure };
  }
  if (!key.ok) {
    return { step: "failed", failure: key.failure };
  }
  // Loaded when it is needed.
  const { NotProven, Unsupported, verifyProof } = await import("./proof");
  try {
    const proven = await verifyProof(proof.value, key.value);
    return shows(proven, receipt) ? { step: "proven", proven, key: key.value.trim() } : { step: "invalid", flaw: "event" };
  } catch (error) {
    if (error instanceof NotProven) {
      return { step: "invalid", flaw: error.flaw };
    }
    return error instanceof Unsupported ? { step: "unsupported" } : { step: "failed", failure: { kind: "broken" } };
  }
}

/** Whether the event in the log is the purchase as the receipt shows it. */
export function shows({ event, position }: Proven, receipt: Receipt): boolean {
  const { id, type, time, data } = event as { id?: unknown; type?: unknown; time?: unknown; data?: Partial<PurchaseData> };
  return (
    type === "LicensePurchased" &&
    id === receipt.purchaseId &&
    position === receipt.position &&
    data?.license === receipt.license &&
    data.price?.amount_minor === receipt.price.amount_minor &&
    data.price.currency === receipt.price.currency &&
    typeof time === "string" &&
    Date.parse(time) === receipt.purchasedAt.getTime()
  );
}

interface PurchaseData {
  license: unknown;
  price: { amount_minor: unknown; currency: unknown };
}

export function updateProof(root: HTMLElement, verification: Verification | undefined): void {
  const proven = verification?.step === "proven" ? verification : undefined;
  const problem = problemOf(verification);
  const verdict = proven ? t("proof.proven") : "";
  write(part(root, "proof-verdict", HTMLElement), verification?.step === "checking" ? t("proof.checking") : verdict);
  const flaw = part(root, "proof-flaw", HTMLElement);
  flaw.hidden = problem === "";
  write(flaw, problem);
  part(root, "proof-facts", HTMLElement).hidden = proven === undefined;
  write(part(root, "proof-position", HTMLElement), proven ? number(proven.proven.position) : "");
  write(part(root, "proof-size", HTMLElement), proven ? number(proven.proven.treeSize) : "");
  write(part(root, "proof-root", HTMLElement), proven?.proven.root ?? "");
  write(part(root, "proof-key", HTMLElement), proven?.key ?? "");
}

function problemOf(verification: Verification | undefined): string {
  switch (verification?.step) {
    case "invalid":
      return t("proof.flaw", { reason: t(`proof.flaw.${verification.flaw}`) });
    case "failed":
      return t("proof.failed", { reason: explain(verification.failure) });
    case "unsupported":
      return t("proof.unsupported");
    case "checking":
    case "proven":
    case undefined:
      return "";
  }
}
