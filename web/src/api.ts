import { address, type Answer, type Body, type License, type Path, type Schemas } from "./described";
import type { Money } from "./money";
import { Reply, Unreadable, webAddress } from "./reply";
import { TIME_ZONE } from "./zone";

/** How long a page waits for an answer before it says that none came. */
export const ANSWER_WITHIN_MS = 10_000;

export interface Receipt {
  purchaseId: string;
  position: number;
  license: string;
  price: Money;
  purchasedAt: Date;
}

export interface Totals {
  salesCount: number;
  revenue: Money;
}

export type ByLicense = ReadonlyMap<string, Totals>;

/** The totals since the last reset, as of one position of the log. */
export interface Figures extends Totals {
  byLicense: ByLicense;
  position: number;
  asOf: Date;
}

/** What was sold from one time, included, to another, not included. */
export interface Bucket extends Totals {
  from: Date;
  to: Date;
  byLicense: ByLicense;
}

export type Interval = "minute" | "hour" | "day";

/** What was sold over time. A reset takes nothing out of it. */
export interface History {
  buckets: readonly Bucket[];
  resets: readonly { resetAt: Date; reason: string | undefined }[];
}

/** Which part of the history; without times it is the newest part, as long as the interval asks for. */
export interface Span {
  interval: Interval;
  from?: Date | undefined;
  to?: Date | undefined;
}

/** A purchase as others see it: its number is the buyer's own. */
export interface Purchase {
  position: number;
  license: string;
  price: Money;
  purchasedAt: Date;
}

export interface Reset {
  position: number;
  resetAt: Date;
}

/** How one may sign in: with a token that one was given, or at the company's OpenID Connect issuer. */
export type SignInWay = "token" | "issuer";

/** Who is looking, and what they may do. An open system asks nobody; then there is no subject, and every role. */
export interface Session {
  access: "open" | "closed";
  signIn: readonly SignInWay[];
  subject: string | undefined;
  roles: ReadonlySet<string>;
}

/** Why there is no result, told apart as far as a reader would act differently. */
export type Failure =
  /** No answer came: the network is down, or the connection broke on the way. */
  | { kind: "unreachable" }
  | { kind: "timeout" }
  /** The service, or the proxy in front of it, asks to come back later. */
  | { kind: "unavailable"; retryAfterSeconds?: number }
  /** Nobody is signed in, or the session is over. */
  | { kind: "unauthenticated" }
  /** Whoever is signed in lacks the role. */
  | { kind: "forbidden" }
  /** What is asked for does not exist. */
  | { kind: "missing" }
  /** The service understood the request and declined it. */
  | { kind: "refused"; reason: string; problem?: string }
  /** An answer that this page doesn't understand. */
  | { kind: "broken" };

export type Outcome<T> = { ok: true; value: T } | { ok: false; failure: Failure };

/** Buys one licence. The same key never buys twice, so that it is safe to ask again after any failure. */
export function buyLicense(license: License, idempotencyKey: string): Promise<Outcome<Receipt>> {
  const order: Body<"/api/buy_mpi", "post"> = { license };
  return ask(
    address("/api/buy_mpi", "post", {}, {}),
    {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
      body: JSON.stringify(order),
    },
    async (response) => readReceipt(await response.json()),
  );
}

/** A receipt, once more: whoever knows its number may see it. */
export function readPurchase(purchaseId: string, signal?: AbortSignal): Promise<Outcome<Receipt>> {
  const path = address("/api/purchases/{purchase_id}", "get", { purchase_id: purchaseId }, {});
  return ask(path, signal ? { signal } : {}, async (response) => readReceipt(await response.json()));
}

export function readLicenseKey(purchaseId: string, signal?: AbortSignal): Promise<Outcome<string>> {
  const path = address("/api/purchases/{purchase_id}/license_key", "get", { purchase_id: purchaseId }, {});
  return ask(path, signal ? { signal } : {}, async (response) =>
    new Reply<Answer<"/api/purchases/{purchase_id}/license_key">>(await response.json(), "licence").text("license_key"),
  );
}

/** Where a browser downloads the proof that a purchase is in the books. */
export function proofAddress(purchaseId: string): string {
  return address("/api/events/{event}/proof", "get", { event: purchaseId }, {});
}

/** Where the totals come from as they change; `stream.ts` reads it. */
export const STREAM: Path = "/api/sales/stream";

export function readHistory(span: Span, signal?: AbortSignal): Promise<Outcome<History>> {
  return ask(historyAddress(span, "json"), signal ? { signal } : {}, async (response) =>
    historyFrom(await response.json()),
  );
}

export function historyAddress({ interval, from, to }: Span, format: "json" | "csv"): string {
  const times = { ...(from && { from: from.toISOString() }), ...(to && { to: to.toISOString() }) };
  return address("/api/sales/history", "get", {}, { interval, ...times, time_zone: TIME_ZONE, format });
}

/** The newest purchases, the newest first. */
export function readLatest(limit: number, signal?: AbortSignal): Promise<Outcome<Purchase[]>> {
  const path = address("/api/sales/latest", "get", {}, { limit: String(limit) });
  return ask(path, signal ? { signal } : {}, async (response) => latestFrom(await response.json()));
}

/** Starts the totals again from zero. The same key never resets twice. A reason goes into the books. */
export function resetSales(idempotencyKey: string, reason: string): Promise<Outcome<Reset>> {
  return ask(
    address("/api/sales", "delete", {}, reason === "" ? {} : { reason }),
    { method: "DELETE", headers: { "Idempotency-Key": idempotencyKey } },
    async (response) => readReset(await response.json()),
  );
}

export function readSession(signal?: AbortSignal): Promise<Outcome<Session>> {
  const path = address("/api/session", "get", {}, {});
  return ask(path, signal ? { signal } : {}, async (response) => sessionFrom(await response.json()));
}

/** The session itself is in a cookie that no script can read. */
export function signInWith(token: string): Promise<Outcome<Session>> {
  const credentials: Body<"/api/session", "post"> = { token };
  return ask(
    address("/api/session", "post", {}, {}),
    { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(credentials) },
    async (response) => sessionFrom(await response.json()),
  );
}

/** Ends the session. The result is where the reader signs out at the issuer, when that is needed too. */
export function endSession(): Promise<Outcome<URL | undefined>> {
  return ask(address("/api/session", "delete", {}, {}), { method: "DELETE" }, async (response) => {
    const signedOut = new Reply<Answer<"/api/session", "delete">>(await response.json(), "sign-out");
    const continueAt = signedOut.textIfAny("continue_at");
    return continueAt === undefined ? undefined : webAddress(continueAt);
  });
}

async function ask<T>(
  path: string,
  request: RequestInit,
  read: (response: Response) => Promise<T>,
): Promise<Outcome<T>> {
  const timeout = AbortSignal.timeout(ANSWER_WITHIN_MS);
  const signal = request.signal ? AbortSignal.any([request.signal, timeout]) : timeout;
  try {
    const response = await fetch(path, { ...request, signal });
    if (response.ok) {
      return { ok: true, value: await read(response) };
    }
    return { ok: false, failure: await failureFrom(response) };
  } catch (error) {
    return { ok: false, failure: failureFromError(error) };
  }
}

export async function failureFrom(response: Response): Promise<Failure> {
  if ([429, 502, 503, 504].includes(response.status)) {
    const retryAfterSeconds = seconds(response, "Retry-After");
    return { kind: "unavailable", ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
  }
  if (response.status === 401) {
    return { kind: "unauthenticated" };
  }
  if (response.status === 403) {
    return { kind: "forbidden" };
  }
  if (response.status === 404) {
    return { kind: "missing" };
  }
  if (response.status >= 400 && response.status < 500) {
    return { kind: "refused", ...(await reasonFrom(response)) };
  }
  return { kind: "broken" };
}

export function failureFromError(error: unknown): Failure {
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return { kind: "timeout" };
  }
  // What `json()` and the readers throw; `fetch` reports a missing answer as a TypeError.
  if (error instanceof SyntaxError || error instanceof Unreadable) {
    return { kind: "broken" };
  }
  return { kind: "unreachable" };
}

/** The sentence of a problem (RFC 9457) and what kind it is, or the status line when the answer is not one. */
async function reasonFrom(response: Response): Promise<{ reason: string; problem?: string }> {
  const statusLine = { reason: `${response.status} ${response.statusText}`.trim() };
  if (response.headers.get("Content-Type")?.startsWith("application/problem+json") !== true) {
    return statusLine;
  }
  try {
    const said = new Reply<{ title: string; detail?: string; type?: string }>(await response.json(), "problem");
    const problem = said.textIfAny("type");
    return { reason: said.textIfAny("detail") ?? said.text("title"), ...(problem !== undefined && { problem }) };
  } catch {
    return statusLine;
  }
}

/** A header in whole seconds. The other form of `Retry-After`, a date, is not used here and counts as missing. */
function seconds(response: Response, header: string): number | undefined {
  const value = response.headers.get(header);
  return value !== null && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}

export function readReceipt(body: unknown): Receipt {
  const receipt = new Reply<Answer<"/api/buy_mpi", "post"> & Answer<"/api/purchases/{purchase_id}">>(body, "receipt");
  return {
    purchaseId: receipt.text("purchase_id"),
    position: receipt.integer("position"),
    license: receipt.text("license"),
    price: readMoney(receipt.object("price").as<MoneyFields>()),
    purchasedAt: receipt.time("purchased_at"),
  };
}

export function readFigures(body: unknown): Figures {
  const figures = new Reply<Answer<"/api/get_current_money">>(body, "figures");
  return {
    ...readTotals(figures.as<TotalsFields>()),
    byLicense: readByLicense(figures.as<ByLicenseFields>()),
    position: figures.integer("position"),
    asOf: figures.time("as_of"),
  };
}

export function historyFrom(body: unknown): History {
  const history = new Reply<Answer<"/api/sales/history">>(body, "history");
  return {
    buckets: history.list("buckets").map((bucket) => ({
      ...readTotals(bucket.as<TotalsFields>()),
      from: bucket.time("from"),
      to: bucket.time("to"),
      byLicense: readByLicense(bucket.as<ByLicenseFields>()),
    })),
    resets: history
      .list("resets")
      .map((reset) => ({ resetAt: reset.time("reset_at"), reason: reset.textIfAny("reason") })),
  };
}

export function latestFrom(body: unknown): Purchase[] {
  const latest = new Reply<Answer<"/api/sales/latest">>(body, "latest");
  return latest.list("purchases").map((purchase) => ({
    position: purchase.integer("position"),
    license: purchase.text("license"),
    price: readMoney(purchase.object("price").as<MoneyFields>()),
    purchasedAt: purchase.time("purchased_at"),
  }));
}

export function sessionFrom(body: unknown): Session {
  const session = new Reply<Answer<"/api/session">>(body, "session");
  const access = session.text("access");
  if (access !== "open" && access !== "closed") {
    throw new Unreadable("session.access is neither open nor closed");
  }
  const ways = session.texts("sign_in");
  return {
    access,
    // In our order; a way that this build doesn't know cannot be offered.
    signIn: (["issuer", "token"] as const).filter((way) => ways.includes(way)),
    subject: session.textIfAny("subject"),
    roles: new Set(session.texts("roles")),
  };
}

type MoneyFields = Schemas["Money"];

interface TotalsFields {
  sales_count: number;
  revenue: MoneyFields;
}

interface ByLicenseFields {
  by_license: Readonly<Record<string, TotalsFields>>;
}

function readTotals(totals: Reply<TotalsFields>): Totals {
  return { salesCount: totals.integer("sales_count"), revenue: readMoney(totals.object("revenue")) };
}

function readByLicense(totals: Reply<ByLicenseFields>): ByLicense {
  return new Map(totals.map("by_license").map(([license, of]) => [license, readTotals(of)]));
}

function readReset(body: unknown): Reset {
  const reset = new Reply<Answer<"/api/sales", "delete">>(body, "reset");
  return { position: reset.integer("position"), resetAt: reset.time("reset_at") };
}

function readMoney(money: Reply<MoneyFields>): Money {
  const currency = money.text("currency");
  if (!/^[A-Z]{3}$/.test(currency)) {
    throw new Unreadable("currency is not an ISO 4217 code");
  }
  return { amount_minor: money.integer("amount_minor"), currency };
}
