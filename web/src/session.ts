/** The visitor of the sales page, and the transitions between signed out, signed in and without access. */
import type { Failure, Session } from "./api";

/** Why the last attempt to sign in or out failed. */
export type SignInFailure =
  | Failure
  /** The service rejected the access token. */
  | { kind: "tokenRejected" }
  /** The sign-in at the issuer failed. */
  | { kind: "issuerFailed" };

export interface Visit {
  /** Undefined until the service has answered. */
  session: Session | undefined;
  /** The session expired or was revoked; the user did not sign out. */
  ended: boolean;
  signingIn: boolean;
  failure: SignInFailure | undefined;
  /** A token that would replace the session of another one, until the user decides. */
  offered: string | undefined;
}

export type View = "figures" | "sign-in" | "no-access";

/** The visible part of the page. While the session is unknown, that is the figures with placeholders. */
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

export function initialVisit(issuerFailed: boolean): Visit {
  const failure: SignInFailure | undefined = issuerFailed ? { kind: "issuerFailed" } : undefined;
  return { session: undefined, ended: false, signingIn: false, failure, offered: undefined };
}

export function signingIn(visit: Visit): Visit {
  return { ...visit, signingIn: true, failure: undefined, offered: undefined };
}

/** The browser has the session of another token. */
export function offering(visit: Visit, token: string): Visit {
  return { ...visit, ended: false, signingIn: false, offered: token };
}

export function declined(visit: Visit): Visit {
  return { ...visit, offered: undefined };
}

export function notSignedIn(visit: Visit, failure: Failure): Visit {
  const isRejected = failure.kind === "unauthenticated";
  return { ...visit, signingIn: false, failure: isRejected ? { kind: "tokenRejected" } : failure };
}

/** The service has returned the session. A user who is signed in does not see why an earlier attempt failed. */
export function withSession(visit: Visit, session: Session): Visit {
  const isSignedOut = viewOf({ ...visit, session }) === "sign-in";
  const failure = isSignedOut ? visit.failure : undefined;
  return { session, ended: false, signingIn: false, failure, offered: isSignedOut ? undefined : visit.offered };
}

export function signedOut({ session }: Visit): Visit {
  return { session: signedOutSession(session), ended: false, signingIn: false, failure: undefined, offered: undefined };
}

/** A request was rejected as unauthenticated. The user stays signed out until they sign in again. */
export function ended({ session }: Visit): Visit {
  return { session: signedOutSession(session), ended: true, signingIn: false, failure: undefined, offered: undefined };
}

/** Updates the ways to sign in. They may have changed since the session began: the system may have been open. */
export function withSignInMethods(visit: Visit, { signIn }: Session): Visit {
  return { ...visit, session: { ...signedOutSession(visit.session), signIn } };
}

/** The role was revoked. */
export function withoutRole(visit: Visit): Visit {
  return { ...visit, session: visit.session && { ...visit.session, roles: new Set() } };
}

function signedOutSession(session: Session | undefined): Session {
  return { access: "closed", signIn: session?.signIn ?? [], subject: undefined, roles: new Set() };
}
