import { afterEach, expect, test, vi } from "vitest";
import { decodeSession, endSession, readLatest, readSession, resetSales, type Session, signInWith } from "./api";
import type { Schemas } from "./client";
import { Unreadable } from "./decode";
import {
  declined,
  ended,
  initialVisit,
  mayReset,
  notSignedIn,
  offering,
  signedOut,
  signingIn,
  viewOf,
  withoutRole,
  withSession,
  withSignInMethods,
} from "./session";

const everybody = ["customer", "sales", "auditor", "operator"];
const open = { access: "open", sign_in: [], subject: null, roles: everybody };
const nobody = { access: "closed", sign_in: ["token", "issuer"], subject: null, roles: [] };
const sales = { ...nobody, subject: "alice", roles: ["sales"] };

/** What the service sends is not always what its description promises. */
const sessionOf = (body: unknown): Session => decodeSession(body as Schemas["Session"]);
const visitOf = (body: unknown): ReturnType<typeof withSession> => withSession(initialVisit(false), sessionOf(body));

function answerWith(status: number, body?: unknown): ReturnType<typeof vi.fn> {
  const fetch = vi.fn(() => Promise.resolve(new Response(body === undefined ? null : JSON.stringify(body), { status })));
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

test("a session has the user, their roles and the ways to sign in", async () => {
  const fetch = answerWith(200, sales);
  const session: Session = { access: "closed", signIn: ["issuer", "token"], subject: "alice", roles: new Set(["sales"]) };
  expect(await readSession()).toEqual({ ok: true, value: session });
  expect(fetch.mock.calls[0]?.[0]).toMatchObject({ url: "http://shop.example/api/session", method: "GET" });
});

test("unknown roles and ways to sign in are ignored", () => {
  const session = sessionOf({ ...nobody, sign_in: ["passkey", "token"], roles: ["archivist"] });
  expect(session.signIn).toEqual(["token"]);
  expect(viewOf(withSession(initialVisit(false), session))).toBe("sign-in");
});

test("a session with a field missing or of another type is rejected", () => {
  const wrong: unknown[] = [
    null,
    { ...sales, access: "ajar" },
    { ...sales, access: undefined },
    { ...sales, sign_in: "token" },
    { ...sales, roles: [1] },
    { ...sales, roles: undefined },
  ];
  for (const body of wrong) {
    expect(() => sessionOf(body), JSON.stringify(body)).toThrow(Unreadable);
  }
});

test("a token is sent in the body only", async () => {
  const fetch = answerWith(200, sales);
  expect((await signInWith("sales_secret")).ok).toBe(true);
  const [request] = fetch.mock.calls[0] as [Request];
  expect(new URL(request.url).href).toBe("http://shop.example/api/session");
  expect(request.method).toBe("POST");
  expect(await request.text()).toBe('{"token":"sales_secret"}');
  expect(JSON.stringify([...request.headers])).not.toContain("sales_secret");
});

test("the session of another token is replaced only on request", async () => {
  const fetch = answerWith(200, sales);
  await signInWith("sales_secret", true);
  const [request] = fetch.mock.calls[0] as [Request];
  expect(await request.text()).toBe('{"token":"sales_secret","replace":true}');
});

test("an expired session and a missing role are distinguished from other rejections", async () => {
  answerWith(401, { type: "urn:sales:problem:unauthenticated" });
  expect(await readLatest(8)).toEqual({ ok: false, failure: { kind: "unauthenticated" } });
  answerWith(403, { type: "urn:sales:problem:forbidden" });
  expect(await resetSales("key", "")).toEqual({ ok: false, failure: { kind: "forbidden" } });
});

test("the reason of a reset is sent unchanged, and omitted if empty", async () => {
  const fetch = answerWith(200, { position: 1, reset_at: "2026-11-23T18:00:00Z" });
  await resetSales("key", "Größe & Maß?");
  await resetSales("key", "");
  const addresses = fetch.mock.calls.map(([request]) => new URL((request as Request).url));
  expect(addresses[0]?.searchParams.get("reason")).toBe("Größe & Maß?");
  expect(addresses[1]?.href).toBe("http://shop.example/api/sales");
});

test("a sign-out may continue at the issuer, but never at a script", async () => {
  answerWith(200, { continue_at: "https://issuer.example/end" });
  expect(await endSession()).toEqual({ ok: true, value: new URL("https://issuer.example/end") });
  answerWith(200, { continue_at: null });
  expect(await endSession()).toEqual({ ok: true, value: undefined });
  for (const address of ["javascript:alert(1)", "data:text/html,x", "/relative"]) {
    answerWith(200, { continue_at: address });
    expect(await endSession()).toEqual({ ok: false, failure: { kind: "broken" } });
  }
});

test("in an open system everyone sees the figures and may reset them", () => {
  expect(viewOf(visitOf(open))).toBe("figures");
  expect(mayReset(visitOf(open))).toBe(true);
});

test("in a closed system only sales see the figures, and only operators may reset them", () => {
  expect(viewOf(visitOf(nobody))).toBe("sign-in");
  expect(viewOf(visitOf(sales))).toBe("figures");
  expect(mayReset(visitOf(sales))).toBe(false);
  expect(viewOf(visitOf({ ...sales, roles: ["auditor"] }))).toBe("no-access");
  expect(mayReset(visitOf({ ...sales, roles: ["sales", "operator"] }))).toBe(true);
});

test("while the session is unknown there are placeholders, and no reset", () => {
  expect(viewOf(initialVisit(false))).toBe("figures");
  expect(mayReset(initialVisit(false))).toBe(false);
});

test("a rejected token shows the reason, which the next attempt clears", () => {
  const refused = notSignedIn(signingIn(visitOf(nobody)), { kind: "unauthenticated" });
  expect(viewOf(refused)).toBe("sign-in");
  expect(refused).toMatchObject({ signingIn: false, failure: { kind: "tokenRejected" } });
  expect(signingIn(refused)).toMatchObject({ signingIn: true, failure: undefined });
  const late = notSignedIn(signingIn(visitOf(nobody)), { kind: "timeout" });
  expect(late.failure).toEqual({ kind: "timeout" });
});

test("a token that would replace a session waits for the user's decision", () => {
  const asked = withSession(offering(signingIn(visitOf(sales)), "sales_other"), sessionOf(sales));
  expect(asked).toMatchObject({ signingIn: false, offered: "sales_other", session: { subject: "alice" } });
  expect(viewOf(asked)).toBe("figures");
  expect(declined(asked)).toMatchObject({ offered: undefined, session: { subject: "alice" } });
  for (const decided of [signingIn(asked), signedOut(asked), ended(asked), withSession(asked, sessionOf(nobody))]) {
    expect(decided.offered).toBeUndefined();
  }
});

test("a signed-out page whose browser has a session asks, too", () => {
  const asked = withSession(offering(ended(visitOf(sales)), "sales_other"), sessionOf(sales));
  expect(asked).toMatchObject({ ended: false, offered: "sales_other", session: { subject: "alice" } });
});

test("a failed sign-in at the issuer is shown only to users who are signed out", () => {
  expect(withSession(initialVisit(true), sessionOf(nobody)).failure).toEqual({ kind: "issuerFailed" });
  expect(withSession(initialVisit(true), sessionOf(sales)).failure).toBeUndefined();
  expect(withSession(initialVisit(true), sessionOf(open)).failure).toBeUndefined();
});

test("an ended session keeps the ways to sign in, and nothing about the user", () => {
  const over = ended(visitOf(sales));
  expect(viewOf(over)).toBe("sign-in");
  expect(over).toMatchObject({ ended: true, session: { signIn: ["issuer", "token"], subject: undefined } });
  expect(mayReset(over)).toBe(false);
  expect(signedOut(visitOf(sales)).ended).toBe(false);
});

test("a service that rejects a session and then reports it as valid does not sign the user in again", () => {
  expect(viewOf(withSignInMethods(ended(visitOf(sales)), sessionOf(sales)))).toBe("sign-in");
});

test("a system that was open and is now closed offers its current ways to sign in", () => {
  const learnt = withSignInMethods(ended(visitOf(open)), sessionOf(nobody));
  expect(learnt).toMatchObject({ ended: true, session: { access: "closed", signIn: ["issuer", "token"] } });
});

test("a revoked role hides the figures, and the user stays signed in", () => {
  const without = withoutRole(visitOf(sales));
  expect(viewOf(without)).toBe("no-access");
  expect(without.session?.subject).toBe("alice");
});
