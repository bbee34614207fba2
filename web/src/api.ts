/** The endpoints that the pages use, and the decoders of their responses. */
import { createQuerySerializer, defaultPathSerializer } from "openapi-fetch";
import { ask, client, type License, type Outcome, type Path, type Paths, type Schemas } from "./client";
import { entries, integer, list, object, optionalText, text, texts, time, Unreadable, webAddress } from "./decode";
import type { Money } from "./money";
import type { Proof } from "./proof";
import { TIME_ZONE } from "./zone";

export type { Failure, License, Outcome } from "./client";

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

/** The sales from one time (inclusive) to another (exclusive). */
export interface Bucket extends Totals {
  from: Date;
  to: Date;
  byLicense: ByLicense;
}

export type Interval = Schemas["Interval"];

/** Sales over time. A reset does not remove anything from the history. */
export interface History {
  buckets: readonly Bucket[];
  resets: readonly { resetAt: Date; reason: string | undefined }[];
}

/** A part of the history; without times, the newest one, of the interval's default length. */
export interface Span {
  interval: Interval;
  from?: Date | undefined;
  to?: Date | undefined;
}

/** A purchase without its number, which only the buyer may see. */
export interface Purchase {
  position: number;
  license: string;
  price: Money;
  purchasedAt: Date;
}

/** The latest purchases, newest first. */
export interface Latest {
  purchases: readonly Purchase[];
  /** The log position that the list reflects. */
  position: number;
}

export interface Reset {
  position: number;
  resetAt: Date;
}

/** How users can sign in: with an access token, or at the company's OpenID Connect issuer. */
export type SignInMethod = Schemas["Way"];

/** The user and their roles. An open system has no users: the subject is undefined, and every role is granted. */
export interface Session {
  access: Schemas["Openness"];
  signIn: readonly SignInMethod[];
  subject: string | undefined;
  roles: ReadonlySet<string>;
}

/** Buys one licence. The idempotency key makes retries safe: the same key never buys twice. */
export function buyLicense(license: License, idempotencyKey: string): Promise<Outcome<Receipt>> {
  const header = { "Idempotency-Key": idempotencyKey };
  return ask(
    (signal) => client.POST("/api/buy_mpi", { params: { header }, body: { license }, signal }),
    decodeReceipt,
  );
}

/** A receipt can be read by anyone who has the purchase number. */
export function readPurchase(purchaseId: string): Promise<Outcome<Receipt>> {
  const path = { purchase_id: purchaseId };
  return ask((signal) => client.GET("/api/purchases/{purchase_id}", { params: { path }, signal }), decodeReceipt);
}

export function readLicenseKey(purchaseId: string): Promise<Outcome<string>> {
  const path = { purchase_id: purchaseId };
  return ask(
    (signal) => client.GET("/api/purchases/{purchase_id}/license_key", { params: { path }, signal }),
    (body) => text(object(body, "licence").license_key, "license_key"),
  );
}

/** The proof that a purchase is in the signed log. It proves nothing until it is verified. */
export function readProof(purchaseId: string): Promise<Outcome<Proof>> {
  const path = { event: purchaseId };
  return ask((signal) => client.GET("/api/events/{event}/proof", { params: { path }, signal }), decodeProof);
}

/** The public key of the log, as in the file `key.pub`. */
export function readLogKey(): Promise<Outcome<string>> {
  return ask(
    (signal) => client.GET("/api/log/key", { parseAs: "text", signal }),
    (body) => text(body, "key"),
  );
}

/** The download address of the inclusion proof of a purchase. */
export function proofAddress(purchaseId: string): string {
  return defaultPathSerializer("/api/events/{event}/proof" satisfies Path, { event: purchaseId });
}

type HistoryQuery = NonNullable<Paths["/api/sales/history"]["get"]["parameters"]["query"]>;

function historyQuery({ interval, from, to }: Span): HistoryQuery {
  const times = { ...(from && { from: from.toISOString() }), ...(to && { to: to.toISOString() }) };
  return { interval, ...times, time_zone: TIME_ZONE };
}

export function readHistory(span: Span, signal?: AbortSignal): Promise<Outcome<History>> {
  const query = historyQuery(span);
  return ask(
    (signal) => client.GET("/api/sales/history", { params: { query }, signal }),
    decodeHistory,
    signal,
  );
}

/** The download address of the history as CSV. */
export function csvAddress(span: Span): string {
  const query: HistoryQuery = { ...historyQuery(span), format: "csv" };
  return `${"/api/sales/history" satisfies Path}?${createQuerySerializer<HistoryQuery>()(query)}`;
}

/** The latest purchases, newest first. */
export function readLatest(limit: number, signal?: AbortSignal): Promise<Outcome<Latest>> {
  const query = { limit };
  return ask((signal) => client.GET("/api/sales/latest", { params: { query }, signal }), decodeLatest, signal);
}

/** Resets the totals to zero. The same key never resets twice. The reason is stored with the reset. */
export function resetSales(idempotencyKey: string, reason: string): Promise<Outcome<Reset>> {
  const params = { header: { "Idempotency-Key": idempotencyKey }, query: reason === "" ? {} : { reason } };
  return ask((signal) => client.DELETE("/api/sales", { params, signal }), decodeReset);
}

export function readSession(signal?: AbortSignal): Promise<Outcome<Session>> {
  return ask((signal) => client.GET("/api/session", { signal }), decodeSession, signal);
}

/** The problem of a sign-in while the browser has the session of another token. */
export const SESSION_EXISTS = "urn:sales:problem:session-exists";

/** Starts a session. Its cookie is not readable by scripts. The session of another token is replaced only on request. */
export function signInWith(token: string, replace = false): Promise<Outcome<Session>> {
  const body = { token, ...(replace && { replace }) };
  return ask((signal) => client.POST("/api/session", { body, signal }), decodeSession);
}

/** Ends the session. The result is the issuer's sign-out address, if the user has to sign out there too. */
export function endSession(): Promise<Outcome<URL | undefined>> {
  return ask(
    (signal) => client.DELETE("/api/session", { signal }),
    (body) => {
      const continueAt = optionalText(object(body, "sign-out").continue_at);
      return continueAt === undefined ? undefined : webAddress(continueAt);
    },
  );
}

export function decodeReceipt(body: Schemas["Receipt"]): Receipt {
  const { purchase_id } = object(body, "receipt");
  return { purchaseId: text(purchase_id, "purchase_id"), ...decodePurchase(body) };
}

function decodeProof(body: Schemas["InclusionProof"]): Proof {
  const { event, position, tree_size, hashes, checkpoint } = object(body, "proof");
  return {
    event: text(event, "event"),
    position: integer(position, "position"),
    tree_size: integer(tree_size, "tree_size"),
    hashes: texts(hashes, "hashes"),
    checkpoint: optionalText(checkpoint),
  };
}

export function decodeFigures(body: Schemas["CurrentMoney"]): Figures {
  const { by_license, position, as_of } = object(body, "figures");
  return {
    ...decodeTotals(body),
    byLicense: decodeByLicense(by_license),
    position: integer(position, "position"),
    asOf: time(as_of, "as_of"),
  };
}

export function decodeHistory(body: Schemas["History"]): History {
  const { buckets, resets } = object(body, "history");
  return {
    buckets: list(buckets, "buckets").map((bucket) => ({
      ...decodeTotals(bucket),
      from: time(bucket.from, "from"),
      to: time(bucket.to, "to"),
      byLicense: decodeByLicense(bucket.by_license),
    })),
    resets: list(resets, "resets").map((reset) => ({
      resetAt: time(object(reset, "reset").reset_at, "reset_at"),
      reason: optionalText(reset.reason),
    })),
  };
}

export function decodeLatest(body: Schemas["LatestSales"]): Latest {
  const { purchases, position } = object(body, "latest");
  return { purchases: list(purchases, "purchases").map(decodePurchase), position: integer(position, "position") };
}

export function decodeSession(body: Schemas["Session"]): Session {
  const { access, sign_in, subject, roles } = object(body, "session");
  if (!(["open", "closed"] as unknown[]).includes(access)) {
    throw new Unreadable("access is neither open nor closed");
  }
  const ways = texts(sign_in, "sign_in");
  return {
    access,
    // In the page's order; ways that this build does not support are left out.
    signIn: (["issuer", "token"] as const).filter((way) => ways.includes(way)),
    subject: optionalText(subject),
    roles: new Set(texts(roles, "roles")),
  };
}

function decodePurchase(body: Schemas["Sale"]): Purchase {
  const { position, license, price, purchased_at } = object(body, "purchase");
  return {
    position: integer(position, "position"),
    license: text(license, "license"),
    price: decodeMoney(price),
    purchasedAt: time(purchased_at, "purchased_at"),
  };
}

function decodeTotals(body: Schemas["LicenseTotal"]): Totals {
  const { sales_count, revenue } = object(body, "totals");
  return { salesCount: integer(sales_count, "sales_count"), revenue: decodeMoney(revenue) };
}

function decodeByLicense(totals: Readonly<Record<string, Schemas["LicenseTotal"]>>): ByLicense {
  return new Map(entries(totals, "by_license").map(([license, of]) => [license, decodeTotals(of)]));
}

function decodeReset(body: Schemas["Reset"]): Reset {
  const { position, reset_at } = object(body, "reset");
  return { position: integer(position, "position"), resetAt: time(reset_at, "reset_at") };
}

function decodeMoney(body: Schemas["Money"]): Money {
  const { amount_minor, currency } = object(body, "money");
  if (!/^[A-Z]{3}$/.test(text(currency, "currency"))) {
    throw new Unreadable("currency is not an ISO 4217 code");
  }
  return { amount_minor: integer(amount_minor, "amount_minor"), currency };
}
