import { expect, test } from "vitest";
import { failureFrom, failureFromError, historyAddress, historyFrom, latestFrom, readFigures, readReceipt } from "./api";
import { Unreadable } from "./reply";

const problem = (status: number, body: unknown): Response =>
  new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/problem+json" } });

test("the proxy's own plain-text answers mean that the service is not available", async () => {
  for (const status of [502, 503, 504]) {
    expect(await failureFrom(new Response("no available server", { status }))).toEqual({ kind: "unavailable" });
  }
});

test("a service that is overloaded says when to come back", async () => {
  const overloaded = new Response(null, { status: 503, headers: { "Retry-After": "7" } });
  expect(await failureFrom(overloaded)).toEqual({ kind: "unavailable", retryAfterSeconds: 7 });
});

test("a Retry-After that is not in seconds is passed over", async () => {
  const dated = new Response(null, { status: 429, headers: { "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT" } });
  expect(await failureFrom(dated)).toEqual({ kind: "unavailable" });
});

test("a refusal gives the problem's detail, else its title, else the status line", async () => {
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

test("what does not exist is told apart from what is refused", async () => {
  expect(await failureFrom(problem(404, { title: "There is no such purchase" }))).toEqual({ kind: "missing" });
});

test("any other answer is one that the page doesn't understand", async () => {
  expect(await failureFrom(problem(500, { title: "Internal error" }))).toEqual({ kind: "broken" });
});

test("a missing, a late and an unreadable answer are told apart", () => {
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

test("a receipt is read field by field", () => {
  expect(readReceipt(receipt)).toEqual({
    purchaseId: receipt.purchase_id,
    position: 42,
    license: "pro",
    price: receipt.price,
    purchasedAt: new Date("2026-11-23T18:00:00.123Z"),
  });
});

test("a receipt with anything missing or of another type is refused", () => {
  const wrong: unknown[] = [
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
  for (const body of wrong) {
    expect(() => readReceipt(body), JSON.stringify(body)).toThrow(Unreadable);
  }
});

test("figures may contain licences that this build doesn't know", () => {
  const totals = { sales_count: 1, revenue: { amount_minor: 500, currency: "EUR" } };
  const figures = readFigures({ ...totals, by_license: { gold: totals }, position: 9, as_of: receipt.purchased_at });
  expect(figures.byLicense.get("gold")).toEqual({ salesCount: 1, revenue: totals.revenue });
});

const zero = { sales_count: 0, revenue: { amount_minor: 0, currency: "EUR" } };
const hour = { from: "2026-10-25T00:00:00Z", to: "2026-10-25T01:00:00Z", ...zero, by_license: { basic: zero } };

test("a history is read bucket by bucket, and a reset needs no reason", () => {
  const resets = [
    { position: 3, reset_at: "2026-10-25T00:30:00Z", reason: "Year end" },
    { position: 4, reset_at: "2026-10-25T00:40:00Z", reason: null },
    { position: 5, reset_at: "2026-10-25T00:50:00Z" },
  ];
  const history = historyFrom({ buckets: [hour], resets });
  expect(history.buckets[0]?.to).toEqual(new Date("2026-10-25T01:00:00Z"));
  expect(history.buckets[0]?.byLicense.get("basic")?.salesCount).toBe(0);
  expect(history.resets.map(({ reason }) => reason)).toEqual(["Year end", undefined, undefined]);
  for (const wrong of [{ resets }, { buckets: [{ ...hour, from: "yesterday" }], resets }, { buckets: [hour], resets: {} }]) {
    expect(() => historyFrom(wrong), JSON.stringify(wrong)).toThrow(Unreadable);
  }
});

test("the newest purchases are read without their numbers, which are the buyers' own", () => {
  const purchase = { ...receipt, purchase_id: undefined };
  expect(latestFrom({ purchases: [purchase] })).toEqual([
    { position: 42, license: "pro", price: receipt.price, purchasedAt: new Date(receipt.purchased_at) },
  ]);
});

test("a span of the history is asked for in the company's time zone", () => {
  const from = new Date("2026-10-24T22:00:00Z");
  expect(historyAddress({ interval: "hour", from }, "csv")).toBe(
    "/api/sales/history?interval=hour&from=2026-10-24T22%3A00%3A00.000Z&time_zone=Europe%2FBerlin&format=csv",
  );
});
