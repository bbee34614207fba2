import type { APIRequestContext } from "@playwright/test";
import { buyViaApi, expect, kill, purchasesSince, readTotals, test, whileStopped } from "./stack";

test.use({ failedRequestsExpected: true });

/** command-api itself rejects an order without a licence, without any effect. */
const commandApiAnswers = async (request: APIRequestContext): Promise<number> =>
  (await request.post("/api/buy_mpi", { data: {}, timeout: 5_000 })).status();

const untilCommandApiIsBack = async (request: APIRequestContext): Promise<void> => {
  await expect(async () => {
    const status = await commandApiAnswers(request);
    expect(status >= 400 && status < 500).toBe(true);
  }).toPass({ timeout: 30_000 });
};

test("an error is shown while command-api is down, and a retry after its recovery buys exactly once", async ({
  page,
  request,
}) => {
  const before = await readTotals(request, await buyViaApi(request, "basic"));
  await page.goto("/");
  await whileStopped("command-api", async () => {
    await page.getByRole("button", { name: "Pro kaufen" }).click();
    await expect(page.getByRole("button", { name: "Wird gekauft …" })).toBeDisabled();
    await expect(page.getByRole("alert")).toContainText("Auch bei mehreren Versuchen");
    await expect(page.getByRole("button", { name: "Erneut versuchen" })).toBeFocused();
    await expect(page.getByTestId("receipt")).toBeHidden();
  });
  await untilCommandApiIsBack(request);

  await page.getByRole("button", { name: "Erneut versuchen" }).click();
  await expect(page.getByTestId("receipt-license")).toHaveText("Pro");
  expect(await purchasesSince(request, before)).toBe(1);
});

test("a purchase interrupted by a reload can be retried, and buys exactly once", async ({ page, request }) => {
  const before = await readTotals(request, await buyViaApi(request, "basic"));
  await page.goto("/");
  await whileStopped("command-api", async () => {
    const sent = page.waitForRequest("**/api/buy_mpi");
    await page.getByRole("button", { name: "Basic kaufen" }).click();
    await sent;
    await page.reload();
    await expect(page.getByRole("alert")).toContainText("Dieser Kauf wurde unterbrochen");
  });
  await untilCommandApiIsBack(request);

  await page.getByRole("button", { name: "Erneut versuchen" }).click();
  await expect(page.getByTestId("receipt-license")).toHaveText("Basic");
  expect(await purchasesSince(request, before)).toBe(1);
});

test("a reset without a response can be retried, and happens once", async ({ page, request }) => {
  await buyViaApi(request, "basic");
  await page.goto("/sales.html");
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  const dialog = page.getByRole("dialog");
  await whileStopped("command-api", async () => {
    await dialog.getByRole("button", { name: "Zurücksetzen" }).click();
    await expect(dialog.getByRole("button", { name: "Wird zurückgesetzt …" })).toBeDisabled();
    await expect(dialog.getByRole("alert")).toBeVisible();
  });
  await untilCommandApiIsBack(request);
  const position = (await readTotals(request)).position;

  await dialog.getByRole("button", { name: "Erneut versuchen" }).click();
  await expect(dialog).toBeHidden();
  await expect(page.getByTestId("count")).toHaveText("0");
  // The reset is the last event, unless command-api had already recorded it before the retry.
  expect((await readTotals(request, position)).position - position).toBeLessThanOrEqual(1);
});

test("the last figures stay and are marked as outdated while query-api is down, and the page recovers automatically", async ({
  page,
  request,
}) => {
  const before = await readTotals(request, await buyViaApi(request, "basic"));
  const count = before.sales_count.toLocaleString("de-DE");
  await page.goto("/sales.html");
  await expect(page.getByTestId("count")).toHaveText(count);
  await whileStopped("query-api", async () => {
    await expect(page.getByTestId("health")).toHaveText(/^(Veraltet|Offline)$/);
    await expect(page.getByTestId("message")).not.toHaveText("Die Zahlen werden laufend aktualisiert.");
    await expect(page.getByTestId("count")).toHaveText(count);
  });
  await expect(page.getByTestId("health")).toHaveText("Live", { timeout: 40_000 });
  await buyViaApi(request, "basic");
  await expect(page.getByTestId("count")).toHaveText((before.sales_count + 1).toLocaleString("de-DE"));
});

test("the sales page reconnects automatically when query-api is killed, and resumes the stream", async ({
  page,
  request,
}) => {
  const before = await readTotals(request, await buyViaApi(request, "basic"));
  await page.goto("/sales.html");
  await expect(page.getByTestId("count")).toHaveText(before.sales_count.toLocaleString("de-DE"));
  await expect(page.getByTestId("health")).toHaveText("Live");
  // The state may be too short for polling.
  const states = await page.evaluateHandle(() => {
    const seen: (string | null)[] = [];
    for (const health of document.querySelectorAll('[data-part="health"]')) {
      new MutationObserver(() => seen.push(health.textContent)).observe(health, { childList: true, subtree: true });
    }
    return seen;
  });

  let loads = 0;
  page.on("load", () => (loads += 1));
  kill("query-api");
  await expect.poll(() => states.jsonValue()).toContain("Verbindet neu");
  await expect(page.getByTestId("health")).toHaveText("Live", { timeout: 30_000 });
  await buyViaApi(request, "pro");
  await expect(page.getByTestId("count")).toHaveText((before.sales_count + 1).toLocaleString("de-DE"));
  expect(loads).toBe(0);
});
