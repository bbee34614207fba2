import { afterEach, expect, test, vi } from "vitest";
import { endSession, readLatest, readSession, resetSales, type Session, sessionFrom, signInWith } from "./api";
import { Unreadable } from "./reply";
import {
  answered,
  arriving,
  ended,
  mayReset,
  notSignedIn,
  signedOut,
  signingIn,
  viewOf,
  waysLearnt,
  withheld,
} from "./session";

const everybody = ["customer", "sales", "auditor", "operator"];
const open = { access: "open", sign_in: [], subject: null, roles: everybody };
const nobody = { access: "closed", sign_in: ["token", "issuer"], subject: null, roles: [] };
const sales = { ...nobody, subject: "alice", roles: ["sales"] };

const visitOf = (body: unknown): ReturnType<typeof answered> => answered(arriving(false), sessionFrom(body));

function answerWith(status: number, body?: unknown): ReturnType<typeof vi.fn> {
  const fetch = vi.fn(() => Promise.resolve(new Response(body === undefined ? null : JSON.stringify(body), { status })));
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

test("a session says who is looking, what they may do and how one signs in", async () => {
  const fetch = answerWith(200, sales);
  const session: Session = { access: "closed", signIn: ["issuer", "token"], subject: "alice", roles: new Set(["sales"]) };
  expect(await readSession()).toEqual({ ok: true, value: session });
  expect(fetch).toHaveBeenCalledWith("/api/session", expect.anything());
});

test("roles and ways to sign in that this build doesn't know do no harm", () => {
  const session = sessionFrom({ ...nobody, sign_in: ["passkey", "token"], roles: ["archivist"] });
  expect(session.signIn).toEqual(["token"]);
  expect(viewOf(answered(arriving(false), session))).toBe("sign-in");
});

test("a session with anything missing or of another type is refused", () => {
  const wrong: unknown[] = [
    null,
    { ...sales, access: "ajar" },
    { ...sales, access: undefined },
    { ...sales, sign_in: "token" },
    { ...sales, roles: [1] },
    { ...sales, roles: undefined },
  ];
  for (const body of wrong) {
    expect(() => sessionFrom(body), JSON.stringify(body)).toThrow(Unreadable);
  }
});

test("a token goes into the body and nowhere else", async () => {
  const fetch = answerWith(200, sales);
  expect((await signInWith("sales_secret")).ok).toBe(true);
  const [path, request] = fetch.mock.calls[0] as [string, RequestInit];
  expect(path).toBe("/api/session");
  expect(request.method).toBe("POST");
  expect(request.body).toBe('{"token":"sales_secret"}');
  expect(JSON.stringify(request.headers)).not.toContain("sales_secret");
});

test("a session that ended and a role that is missing are told apart from all other refusals", async () => {
  answerWith(401, { type: "urn:sales:problem:unauthenticated" });
  expect(await readLatest(8)).toEqual({ ok: false, failure: { kind: "unauthenticated" } });
  answerWith(403, { type: "urn:sales:problem:forbidden" });
  expect(await resetSales("key", "")).toEqual({ ok: false, failure: { kind: "forbidden" } });
});

test("a reason for a reset is sent as it was written, and none when there is none", async () => {
  const fetch = answerWith(200, { position: 1, reset_at: "2026-11-23T18:00:00Z" });
  await resetSales("key", "Größe & Maß?");
  await resetSales("key", "");
  const paths = fetch.mock.calls.map(([path]) => String(path));
  expect(new URL(paths[0] ?? "", "http://shop").searchParams.get("reason")).toBe("Größe & Maß?");
  expect(paths[1]).toBe("/api/sales");
});

test("a sign-out may go on at the issuer, but never to a script", async () => {
  answerWith(200, { continue_at: "https://issuer.example/end" });
  expect(await endSession()).toEqual({ ok: true, value: new URL("https://issuer.example/end") });
  answerWith(200, { continue_at: null });
  expect(await endSession()).toEqual({ ok: true, value: undefined });
  for (const address of ["javascript:alert(1)", "data:text/html,x", "/relative"]) {
    answerWith(200, { continue_at: address });
    expect(await endSession()).toEqual({ ok: false, failure: { kind: "broken" } });
  }
});

test("an open system shows the figures to everybody, who may all reset", () => {
  expect(viewOf(visitOf(open))).toBe("figures");
  expect(mayReset(visitOf(open))).toBe(true);
});

test("a closed system shows the figures to sales only, and the reset to operators only", () => {
  expect(viewOf(visitOf(nobody))).toBe("sign-in");
  expect(viewOf(visitOf(sales))).toBe("figures");
  expect(mayReset(visitOf(sales))).toBe(false);
  expect(viewOf(visitOf({ ...sales, roles: ["auditor"] }))).toBe("no-access");
  expect(mayReset(visitOf({ ...sales, roles: ["sales", "operator"] }))).toBe(true);
});

test("until the service has said who is looking there are empty places, and no reset", () => {
  expect(viewOf(arriving(false))).toBe("figures");
  expect(mayReset(arriving(false))).toBe(false);
});

test("a token that is not accepted keeps the reader out, and says why; the next attempt is free of it", () => {
  const refused = notSignedIn(signingIn(visitOf(nobody)), { kind: "unauthenticated" });
  expect(viewOf(refused)).toBe("sign-in");
  expect(refused).toMatchObject({ signingIn: false, trouble: { kind: "notAccepted" } });
  expect(signingIn(refused)).toMatchObject({ signingIn: true, trouble: undefined });
  const late = notSignedIn(signingIn(visitOf(nobody)), { kind: "timeout" });
  expect(late.trouble).toEqual({ kind: "timeout" });
});

test("a sign-in that failed at the issuer is said to those who are out, and to nobody else", () => {
  expect(answered(arriving(true), sessionFrom(nobody)).trouble).toEqual({ kind: "cameBack" });
  expect(answered(arriving(true), sessionFrom(sales)).trouble).toBeUndefined();
  expect(answered(arriving(true), sessionFrom(open)).trouble).toBeUndefined();
});

test("a session that ends leaves the ways to sign in, and nothing of who was there", () => {
  const over = ended(visitOf(sales));
  expect(viewOf(over)).toBe("sign-in");
  expect(over).toMatchObject({ ended: true, session: { signIn: ["issuer", "token"], subject: undefined } });
  expect(mayReset(over)).toBe(false);
  expect(signedOut(visitOf(sales)).ended).toBe(false);
});

test("a service that refuses a session and names it valid in one breath does not let the reader in again", () => {
  expect(viewOf(waysLearnt(ended(visitOf(sales)), sessionFrom(sales)))).toBe("sign-in");
});

test("a system that was open and is closed now offers the ways that it has now", () => {
  const learnt = waysLearnt(ended(visitOf(open)), sessionFrom(nobody));
  expect(learnt).toMatchObject({ ended: true, session: { access: "closed", signIn: ["issuer", "token"] } });
});

test("a role that was taken away takes the figures with it, and the reader stays signed in", () => {
  const without = withheld(visitOf(sales));
  expect(viewOf(without)).toBe("no-access");
  expect(without.session?.subject).toBe("alice");
});
