/** Who looks at the sales page, and how that changes. */
import type { Failure, Session } from "./api";

/** Why the reader's last attempt to sign in or out did not succeed. */
export type Trouble =
  | Failure
  /** The service does not take the token. */
  | { kind: "notAccepted" }
  /** Signing in at the issuer did not succeed. */
  | { kind: "cameBack" };

export interface Visit {
  /** Unknown until the service has said it. */
  session: Session | undefined;
  /** The session ended, and not because the reader wanted it. */
  ended: boolean;
  signingIn: boolean;
  trouble: Trouble | undefined;
}

export type View = "figures" | "sign-in" | "no-access";

/** What there is to see. As long as nobody knows who is looking, it is the figures' empty places. */
export function viewOf({ session }: Visit): View {
  if (session === undefined || session.access === "open") {
    return "figures";
  }
  if (session.subject === undefined) {
    return "sign-in";
  }
  return session.roles.has("sales") ? "figures" : "no-access";
}

export function mayReset({ session }: Visit): boolean {
  return session?.roles.has("operator") === true;
}

export function arriving(cameBack: boolean): Visit {
  return { session: undefined, ended: false, signingIn: false, trouble: cameBack ? { kind: "cameBack" } : undefined };
}

export function signingIn(visit: Visit): Visit {
  return { ...visit, signingIn: true, trouble: undefined };
}

export function notSignedIn(visit: Visit, failure: Failure): Visit {
  const trouble: Trouble = failure.kind === "unauthenticated" ? { kind: "notAccepted" } : failure;
  return { ...visit, signingIn: false, trouble };
}

/** The service has said who is looking. Whoever is in need not hear why an attempt to get in failed. */
export function answered(visit: Visit, session: Session): Visit {
  const isOut = viewOf({ ...visit, session }) === "sign-in";
  return { session, ended: false, signingIn: false, trouble: isOut ? visit.trouble : undefined };
}

export function signedOut({ session }: Visit): Visit {
  return { session: nobody(session), ended: false, signingIn: false, trouble: undefined };
}

/** A request was refused because nobody is signed in. That holds until the reader signs in again. */
export function ended({ session }: Visit): Visit {
  return { session: nobody(session), ended: true, signingIn: false, trouble: undefined };
}

/** The ways to sign in may be others than when the session began: the system may have been open then. */
export function waysLearnt(visit: Visit, { signIn }: Session): Visit {
  return { ...visit, session: { ...nobody(visit.session), signIn } };
}

/** The role was taken away meanwhile. */
export function withheld(visit: Visit): Visit {
  return { ...visit, session: visit.session && { ...visit.session, roles: new Set() } };
}

function nobody(session: Session | undefined): Session {
  return { access: "closed", signIn: session?.signIn ?? [], subject: undefined, roles: new Set() };
}
