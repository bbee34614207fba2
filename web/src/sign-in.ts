/** The parts of the sales page that show the signed-in user and let users sign in and out. */
import { explain, part, t, write } from "./page";
import { type SignInFailure, type View, viewOf, type Visit } from "./session";

const account = part(document, "account", HTMLElement);
const heading = part(document, "heading", HTMLElement);
const failure = part(document, "sign-in-failure", HTMLElement);
const panel = part(document, "sign-in", HTMLElement);
const panelHeading = part(panel, "sign-in-heading", HTMLElement);
const issuer = part(panel, "issuer", HTMLAnchorElement);
const tokenForm = part(panel, "token-form", HTMLFormElement);
const token = part(tokenForm, "token", HTMLInputElement);
const submitToken = part(tokenForm, "submit-token", HTMLButtonElement);
const replace = part(document, "replace", HTMLElement);
const replaceHeading = part(replace, "replace-heading", HTMLElement);
const noAccess = part(document, "no-access", HTMLElement);
const noAccessHeading = part(noAccess, "no-access-heading", HTMLElement);

interface Handlers {
  signIn: (token: string) => void;
  signOut: () => void;
  acceptOffer: () => void;
  declineOffer: () => void;
}

export function listen(handlers: Handlers): void {
  tokenForm.addEventListener("submit", (event) => {
    event.preventDefault();
    // The field never keeps a valid token.
    const pasted = token.value.trim();
    token.value = "";
    if (pasted !== "") {
      handlers.signIn(pasted);
    }
  });
  part(account, "sign-out", HTMLButtonElement).addEventListener("click", handlers.signOut);
  part(noAccess, "sign-in-otherwise", HTMLButtonElement).addEventListener("click", handlers.signOut);
  part(replace, "keep-session", HTMLButtonElement).addEventListener("click", handlers.declineOffer);
  part(replace, "replace-session", HTMLButtonElement).addEventListener("click", handlers.acceptOffer);
}

export function updateSignIn(visit: Visit): void {
  const view = viewOf(visit);
  const methods = visit.session?.signIn ?? [];
  const subject = visit.session?.subject;
  account.hidden = subject === undefined;
  write(part(account, "who", HTMLElement), subject === undefined ? "" : t("session.who", { subject }));
  failure.hidden = visit.failure === undefined;
  write(failure, visit.failure ? explainFailure(visit.failure) : "");

  panel.hidden = view !== "sign-in" || methods.length === 0;
  issuer.hidden = !methods.includes("issuer");
  tokenForm.hidden = !methods.includes("token");
  token.ariaInvalid = String(visit.failure?.kind === "tokenRejected");
  submitToken.disabled = visit.signingIn;
  submitToken.classList.toggle("busy", visit.signingIn);
  submitToken.classList.toggle("primary", issuer.hidden);
  write(submitToken, t(visit.signingIn ? "signIn.pending" : "signIn.submit"));
  noAccess.hidden = view !== "no-access";

  const asks = visit.offered !== undefined && subject !== undefined;
  const begins = asks && replace.hidden === true;
  replace.hidden = !asks;
  write(part(replace, "replace-explanation", HTMLElement), asks ? t("replace.explanation", { subject }) : "");
  if (begins) {
    replaceHeading.focus();
  }
}

function explainFailure(failure: SignInFailure): string {
  return failure.kind === "tokenRejected" || failure.kind === "issuerFailed"
    ? t(`signInFailure.${failure.kind}`)
    : explain(failure);
}

/**
 * Moves the focus to the new view. When a session ends unexpectedly, the heading is focused: a key press meant for
 * something else must not sign in.
 */
export function focusView(view: View, visit: Visit): void {
  switch (view) {
    case "figures":
      heading.focus();
      break;
    case "sign-in": {
      const firstWay = issuer.hidden === true ? token : issuer;
      (visit.ended ? panelHeading : firstWay).focus();
      break;
    }
    case "no-access":
      noAccessHeading.focus();
      break;
  }
}

export function focusHeading(): void {
  heading.focus();
}

export function focusToken(): void {
  token.focus();
}
