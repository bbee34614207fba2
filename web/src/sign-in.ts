/** The parts of the sales page that show the signed-in user and let users sign in and out. */
import { explain, part, t, write } from "./page";
import { type Trouble, type View, viewOf, type Visit } from "./session";

const account = part(document, "account", HTMLElement);
const heading = part(document, "heading", HTMLElement);
const trouble = part(document, "trouble", HTMLElement);
const panel = part(document, "sign-in", HTMLElement);
const panelHeading = part(panel, "sign-in-heading", HTMLElement);
const issuer = part(panel, "issuer", HTMLAnchorElement);
const tokenForm = part(panel, "token-form", HTMLFormElement);
const token = part(tokenForm, "token", HTMLInputElement);
const submitToken = part(tokenForm, "submit-token", HTMLButtonElement);
const noAccess = part(document, "no-access", HTMLElement);
const noAccessHeading = part(noAccess, "no-access-heading", HTMLElement);

export function listen(handlers: { signIn: (token: string) => void; signOut: () => void }): void {
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
}

export function updateSignIn(visit: Visit): void {
  const view = viewOf(visit);
  const ways = visit.session?.signIn ?? [];
  const subject = visit.session?.subject;
  account.hidden = subject === undefined;
  write(part(account, "who", HTMLElement), subject === undefined ? "" : t("session.who", { subject }));
  trouble.hidden = visit.trouble === undefined;
  write(trouble, visit.trouble ? explainTrouble(visit.trouble) : "");

  panel.hidden = view !== "sign-in" || ways.length === 0;
  issuer.hidden = !ways.includes("issuer");
  tokenForm.hidden = !ways.includes("token");
  token.ariaInvalid = String(visit.trouble?.kind === "tokenRejected");
  submitToken.disabled = visit.signingIn;
  submitToken.classList.toggle("busy", visit.signingIn);
  submitToken.classList.toggle("primary", issuer.hidden);
  write(submitToken, t(visit.signingIn ? "signIn.underWay" : "signIn.submit"));
  noAccess.hidden = view !== "no-access";
}

function explainTrouble(trouble: Trouble): string {
  return trouble.kind === "tokenRejected" || trouble.kind === "issuerFailed"
    ? t(`trouble.${trouble.kind}`)
    : explain(trouble);
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

export function focusToken(): void {
  token.focus();
}
