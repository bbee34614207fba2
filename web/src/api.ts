import type { Money } from "./money";
import { type Fields, integer, object, text, time, Unreadable } from "./reply";

/** How long a page waits for an answer before it says that none came. */
const ANSWER_WITHIN_MS = 10_000;

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

/** The totals since the last reset, as of one position of the log. */
export interface Figures extends Totals {
  byLicense: ReadonlyMap<string, Totals>;
  position: number;
  asOf: Date;
}

export interface Reading {
  /** Missing when nothing has changed since the figures with the given tag. */
  figures?: Figures;
  tag: string | undefined;
  /** How long ago it was last certain that nothing is missing from the figures. */
  ageSeconds: number;
}

export interface Reset {
  position: number;
  resetAt: Date;
}

/** Why there is no result, told apart as far as a reader would act differently. */
export type Failure =
  /** No answer came: the network is down, or the connection broke on the way. */
  | { kind: "unreachable" }
  | { kind: "timeout" }
  /** The service, or the proxy in front of it, asks to come back later. */
  | { kind: "unavailable"; retryAfterSeconds?: number }
  /** The service understood the request and declined it. */
  | { kind: "refused"; reason: string }
  /** An answer that this page doesn't understand. */
  | { kind: "broken" };

export type Outcome<T> = { ok: true; value: T } | { ok: false; failure: Failure };

/** Buys one licence. The same key never buys twice, so that it is safe to ask again after any failure. */
export function buyLicense(license: string, idempotencyKey: string): Promise<Outcome<Receipt>> {
  return ask(
    "/api/buy_mpi",
    {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
      body: JSON.stringify({ license }),
    },
    async (response) => readReceipt(await response.json()),
  );
}

/** Reads the figures; with a tag only if they changed since, with a position only once they reflect it. */
export function readSales(
  known: { tag?: string | undefined; minPosition?: number | undefined },
  signal?: AbortSignal,
): Promise<Outcome<Reading>> {
  const query = known.minPosition === undefined ? "" : `?min_position=${known.minPosition}`;
  const headers: HeadersInit = known.tag === undefined ? {} : { "If-None-Match": known.tag };
  return ask(`/api/get_current_money${query}`, { headers, ...(signal && { signal }) }, async (response) => {
    const reading: Reading = { tag: response.headers.get("ETag") ?? undefined, ageSeconds: seconds(response, "Age") ?? 0 };
    return response.status === 304 ? reading : { ...reading, figures: readFigures(await response.json()) };
  });
}

/** Starts the totals again from zero. The same key never resets twice. */
export function resetSales(idempotencyKey: string): Promise<Outcome<Reset>> {
  return ask(
    "/api/sales",
    { method: "DELETE", headers: { "Idempotency-Key": idempotencyKey } },
    async (response) => readReset(await response.json()),
  );
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
    if (response.ok || response.status === 304) {
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
  if (response.status >= 400 && response.status < 500) {
    return { kind: "refused", reason: await reasonFrom(response) };
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

/** The sentence of a problem (RFC 9457), or the status line when the answer is not one. */
async function reasonFrom(response: Response): Promise<string> {
  const statusLine = `${response.status} ${response.statusText}`.trim();
  if (response.headers.get("Content-Type")?.startsWith("application/problem+json") !== true) {
    return statusLine;
  }
  try {
    const problem = object(await response.json(), "problem");
    return text(problem, typeof problem["detail"] === "string" ? "detail" : "title");
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
  const receipt = object(body, "receipt");
  return {
    purchaseId: text(receipt, "purchase_id"),
    position: integer(receipt, "position"),
    license: text(receipt, "license"),
    price: readMoney(receipt, "price"),
    purchasedAt: time(receipt, "purchased_at"),
  };
}

export function readFigures(body: unknown): Figures {
  const figures = object(body, "figures");
  const byLicense = Object.entries(object(figures["by_license"], "by_license"));
  return {
    ...readTotals(figures),
    byLicense: new Map(byLicense.map(([license, totals]) => [license, readTotals(object(totals, license))])),
    position: integer(figures, "position"),
    asOf: time(figures, "as_of"),
  };
}

function readTotals(totals: Fields): Totals {
  return { salesCount: integer(totals, "sales_count"), revenue: readMoney(totals, "revenue") };
}

function readReset(body: unknown): Reset {
  const reset = object(body, "reset");
  return { position: integer(reset, "position"), resetAt: time(reset, "reset_at") };
}

function readMoney(fields: Fields, name: string): Money {
  const money = object(fields[name], name);
  const currency = text(money, "currency");
  if (!/^[A-Z]{3}$/.test(currency)) {
    throw new Unreadable(`${name}.currency is not an ISO 4217 code`);
  }
  return { amount_minor: integer(money, "amount_minor"), currency };
}
