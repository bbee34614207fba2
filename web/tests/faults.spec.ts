import type { APIRequestContext } from "@playwright/test";
import { buyElsewhere, expect, kill, purchasesSince, readTotals, test, whileStopped } from "./stack";

test.use({ failedRequestsExpected: true });

/** An order that names no licence is refused by command-api itself, and changes nothing. */
const commandApiAnswers = async (request: APIRequestContext): Promise<number> =>
  (await request.post("/api/buy_mpi", { data: {}, timeout: 5_000 })).status();

const untilCommandApiIsBack = async (request: APIRequestContext): Promise<void> => {
  await expect(async () => {
    const status = await commandApiAnswers(request);
    expect(status >= 400 && status < 500).toBe(true);
  }).toPass({ timeout: 30_000 });
};

test("an error is shown while command-api is down, and trying again when it is back buys exactly once", async ({
  page,
  request,
}) => {
  const before = await readTotals(request, await buyElsewhere(request, "basic"));
  await page.goto("/");
  await whileStopped("command-api", async () => {
    await page.getByRole("button", { name: "Pro kaufen" }).click();
    await expect(page.getByRole("button", { name: "Wird gekauft …" })).toBeDisabled();
    await expect(page.getByRole("alert")).toContainText("Wenn Sie es erneut versuchen");
    await expect(page.getByRole("button", { name: "Erneut versuchen" })).toBeFocused();
    await expect(page.getByTestId("receipt")).toBeHidden();
  });
  await untilCommandApiIsBack(request);

  await page.getByRole("button", { name: "Erneut versuchen" }).click();
  await expect(page.getByTestId("receipt-license")).toHaveText("Pro");
  expect(await purchasesSince(request, before)).toBe(1);
});

test("a purchase that a reload interrupted is offered again and bought exactly once", async ({ page, request }) => {
  const before = await readTotals(request, await buyElsewhere(request, "basic"));
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

test("a reset that got no answer can be tried again, and happens once", async ({ page, request }) => {
  await buyElsewhere(request, "basic");
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
  // The one reset is the last entry, or it was already when command-api went on.
  expect((await readTotals(request, position)).position - position).toBeLessThanOrEqual(1);
});

test("the last figures stay and are said to be old while query-api is down, and the page recovers by itself", async ({
  page,
  request,
}) => {
  const before = await readTotals(request, await buyElsewhere(request, "basic"));
  const count = before.sales_count.toLocaleString("de-DE");
  await page.goto("/sales.html");
  await expect(page.getByTestId("count")).toHaveText(count);
  await whileStopped("query-api", async () => {
    await expect(page.getByTestId("health")).toHaveText(/^(Veraltet|Offline)$/);
    await expect(page.getByTestId("message")).not.toHaveText("Die Zahlen aktualisieren sich von selbst.");
    await expect(page.getByTestId("count")).toHaveText(count);
  });
  await expect(page.getByTestId("health")).toHaveText("Live", { timeout: 40_000 });
  await buyElsewhere(request, "basic");
  await expect(page.getByTestId("count")).toHaveText((before.sales_count + 1).toLocaleString("de-DE"));
});

test("the sales page connects again by itself when query-api is killed, and goes on where it was", async ({
  page,
  request,
}) => {
  const before = await readTotals(request, await buyElsewhere(request, "basic"));
  await page.goto("/sales.html");
  await expect(page.getByTestId("count")).toHaveText(before.sales_count.toLocaleString("de-DE"));
  await expect(page.getByTestId("health")).toHaveText("Live");
  // It can be over before anybody looks.
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
  await buyElsewhere(request, "pro");
  await expect(page.getByTestId("count")).toHaveText((before.sales_count + 1).toLocaleString("de-DE"));
  expect(loads).toBe(0);
});
