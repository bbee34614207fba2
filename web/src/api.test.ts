import { afterEach, expect, test, vi } from "vitest";
import {
  csvAddress,
  decodeFigures,
  decodeHistory,
  decodeLatest,
  decodeReceipt,
  type Failure,
  proofAddress,
  readPurchase,
} from "./api";
import { failureFromError, type Schemas } from "./client";
import { Unreadable } from "./decode";

const problem = (status: number, body: unknown): Response =>
  new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/problem+json" } });

/** The failure of a request that the service, or the proxy, answers with this response. */
async function failureFrom(response: Response): Promise<Failure> {
  vi.stubGlobal("fetch", () => Promise.resolve(response));
  const outcome = await readPurchase("some-purchase");
  if (outcome.ok) {
    throw new Error("the request succeeded");
  }
  return outcome.failure;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

test("plain-text errors of the proxy mean that the service is unavailable", async () => {
  for (const status of [404, 502, 503, 504]) {
    expect(await failureFrom(new Response("no available server", { status }))).toEqual({ kind: "unavailable" });
  }
});

test("an overloaded service states when to retry", async () => {
  const overloaded = new Response(null, { status: 503, headers: { "Retry-After": "7" } });
  expect(await failureFrom(overloaded)).toEqual({ kind: "unavailable", retryAfterSeconds: 7 });
});

test("a Retry-After that is not in seconds is ignored", async () => {
  const dated = new Response(null, { status: 429, headers: { "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT" } });
  expect(await failureFrom(dated)).toEqual({ kind: "unavailable" });
});

test("a rejection has the problem's detail as its reason, else its title, else the status line", async () => {
  const title = "Unknown licence";
  expect(await failureFrom(problem(422, { title, detail: "There is no licence “gold”." }))).toEqual({
    kind: "refused",
    reason: "There is no licence “gold”.",
  });
  expect(await failureFrom(problem(422, { title }))).toEqual({ kind: "refused", reason: title });
  const type = "urn:sales:problem:invalid-body";
  expect(await failureFrom(problem(422, { title, type }))).toEqual({ kind: "refused", reason: title, problem: type });
  expect(await failureFrom(problem(422, "?"))).toEqual({ kind: "refused", reason: "422" });
  expect(await failureFrom(new Response("Gone", { status: 410, statusText: "Gone" }))).toEqual({
    kind: "refused",
    reason: "410 Gone",
  });
});

test("not found is distinguished from other rejections", async () => {
  expect(await failureFrom(problem(404, { title: "Not found" }))).toEqual({ kind: "missing" });
});

test("any other error status is an unexpected response", async () => {
  expect(await failureFrom(problem(500, { title: "Internal error" }))).toEqual({ kind: "broken" });
});

test("no response, a late response and an invalid response are distinguished", () => {
  expect(failureFromError(new TypeError("Failed to fetch"))).toEqual({ kind: "unreachable" });
  expect(failureFromError(new DOMException("signal timed out", "TimeoutError"))).toEqual({ kind: "timeout" });
  expect(failureFromError(new SyntaxError("Unexpected token"))).toEqual({ kind: "broken" });
  expect(failureFromError(new Unreadable("position is not an exact whole number"))).toEqual({ kind: "broken" });
});

const receipt = {
  purchase_id: "5a8f3c1e-7f0e-4f0a-9a53-3c7a9f0f1b2d",
  position: 42,
  license: "pro",
  price: { amount_minor: 19_900, currency: "EUR" },
  purchased_at: "2026-11-23T18:00:00.123456Z",
};

test("a receipt is decoded field by field", () => {
  expect(decodeReceipt(receipt as Schemas["Receipt"])).toEqual({
    purchaseId: receipt.purchase_id,
    position: 42,
    license: "pro",
    price: receipt.price,
    purchasedAt: new Date("2026-11-23T18:00:00.123Z"),
  });
});

test("a receipt with a field missing or of another type is rejected", () => {
  const invalid: unknown[] = [
    null,
    [],
    "receipt",
    { ...receipt, purchase_id: undefined },
    { ...receipt, position: "42" },
    { ...receipt, position: 2 ** 53 },
    { ...receipt, price: 199 },
    { ...receipt, price: { amount_minor: 199.5, currency: "EUR" } },
    { ...receipt, price: { amount_minor: 199, currency: "euro" } },
    { ...receipt, purchased_at: "yesterday" },
  ];
  for (const body of invalid) {
    expect(() => decodeReceipt(body as Schemas["Receipt"]), JSON.stringify(body)).toThrow(Unreadable);
  }
});

test("figures may contain licences that this build does not know", () => {
  const totals = { sales_count: 1, revenue: { amount_minor: 500, currency: "EUR" } };
  const figures = decodeFigures({ ...totals, by_license: { gold: totals }, position: 9, as_of: receipt.purchased_at } as Schemas["CurrentMoney"]);
  expect(figures.byLicense.get("gold")).toEqual({ salesCount: 1, revenue: totals.revenue });
});

const zero = { sales_count: 0, revenue: { amount_minor: 0, currency: "EUR" } };
const hour = { from: "2026-10-25T00:00:00Z", to: "2026-10-25T01:00:00Z", ...zero, by_license: { basic: zero } };

test("a history is decoded bucket by bucket, and the reason of a reset is optional", () => {
  const resets = [
    { position: 3, reset_at: "2026-10-25T00:30:00Z", reason: "Year end" },
    { position: 4, reset_at: "2026-10-25T00:40:00Z", reason: null },
    { position: 5, reset_at: "2026-10-25T00:50:00Z" },
  ];
  const history = decodeHistory({ buckets: [hour], resets } as unknown as Schemas["History"]);
  expect(history.buckets[0]?.to).toEqual(new Date("2026-10-25T01:00:00Z"));
  expect(history.buckets[0]?.byLicense.get("basic")?.salesCount).toBe(0);
  expect(history.resets.map(({ reason }) => reason)).toEqual(["Year end", undefined, undefined]);
  for (const invalid of [{ resets }, { buckets: [{ ...hour, from: "yesterday" }], resets }, { buckets: [hour], resets: {} }]) {
    expect(() => decodeHistory(invalid as unknown as Schemas["History"]), JSON.stringify(invalid)).toThrow(Unreadable);
  }
});

test("the latest purchases are decoded without their purchase numbers, which only the buyers may see", () => {
  const purchase = { ...receipt, purchase_id: undefined };
  expect(decodeLatest({ purchases: [purchase], position: 43 } as unknown as Schemas["LatestSales"])).toEqual({
    purchases: [{ position: 42, license: "pro", price: receipt.price, purchasedAt: new Date(receipt.purchased_at) }],
    position: 43,
  });
});

test("the history is requested in the company's time zone", () => {
  const from = new Date("2026-10-24T22:00:00Z");
  expect(csvAddress({ interval: "hour", from })).toBe(
    "/api/sales/history?interval=hour&from=2026-10-24T22%3A00%3A00.000Z&time_zone=Europe%2FBerlin&format=csv",
  );
});

test("the address of a proof contains the purchase number, encoded", () => {
  expect(proofAddress("a/b")).toBe("/api/events/a%2Fb/proof");
});

test("an empty response is an unexpected one", async () => {
  expect(await failureFrom(new Response(null, { status: 200 }))).toEqual({ kind: "broken" });
  expect(await failureFrom(new Response("<html>", { status: 200 }))).toEqual({ kind: "broken" });
});

test("a request is aborted after the timeout", async () => {
  const timeout = vi.spyOn(AbortSignal, "timeout");
  timeout.mockReturnValue(AbortSignal.abort(new DOMException("too late", "TimeoutError")));
  vi.stubGlobal("fetch", ({ signal }: Request) => Promise.reject(signal.reason as Error));
  expect(await readPurchase("some-purchase")).toEqual({ ok: false, failure: { kind: "timeout" } });
  timeout.mockRestore();
});
