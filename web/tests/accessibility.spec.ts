/** Nothing that axe knows of is wrong with any state of the pages, in light and dark, wide and narrow. */
import { readFileSync } from "node:fs";
import type { Page } from "@playwright/test";
import { buyElsewhere, expect, expectAccessible, test } from "./stack";

// Answers that never come, and connections that break.
test.use({ failedRequestsExpected: true });

async function breaks(page: Page, address: string): Promise<void> {
  await page.route(address, (route) => route.abort());
}

async function hangs(page: Page, address: string): Promise<void> {
  await page.route(address, () => undefined);
}

async function buy(page: Page): Promise<void> {
  await page.goto("/");
  await page.getByRole("button", { name: "Pro kaufen" }).click();
}

/** Totals that were complete so long ago, from a stream that ends at once; then none, where it is not to be opened again. */
async function streams(page: Page, ageMs: number, isOpenedAgain: boolean): Promise<void> {
  const none = { sales_count: 0, revenue: { amount_minor: 0, currency: "EUR" } };
  const totals = JSON.stringify({ ...none, by_license: { pro: none }, position: 1, as_of: "2026-11-24T20:00:00Z" });
  const body = `event: totals\nid: 1-1\ndata: ${totals}\n\nevent: age\ndata: {"age_ms":${ageMs}}\n\n`;
  let count = 0;
  await page.route("**/api/sales/stream", (route) => {
    count += 1;
    return count === 1 || isOpenedAgain ? route.fulfill({ contentType: "text/event-stream", body }) : route.abort();
  });
}

async function signIn(page: Page, role: string): Promise<void> {
  const tokens = JSON.parse(readFileSync(process.env["SALES_SECURE_TOKENS"] ?? "", "utf8")) as Record<string, string>;
  await page.goto(`${process.env["SALES_SECURE_URL"] ?? ""}/sales.html#token=${tokens[role] ?? ""}`);
  await expect(page.getByTestId("who")).toHaveText(/^Angemeldet als /);
}

async function openReset(page: Page): Promise<void> {
  await page.goto("/sales.html");
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await expect(page.getByRole("dialog")).toBeVisible();
}

const speakEnglish = (page: Page): Promise<void> => page.getByRole("button", { name: "EN – English" }).click();

const states: Record<string, (page: Page) => Promise<void>> = {
  "the shop": async (page) => {
    await page.goto("/");
    await expect(page.getByRole("button", { name: "Pro kaufen" })).toBeVisible();
  },
  "a purchase under way": async (page) => {
    await hangs(page, "**/api/buy_mpi");
    await buy(page);
    await expect(page.getByRole("button", { name: "Wird gekauft …" })).toBeVisible();
  },
  "a purchase that failed": async (page) => {
    await breaks(page, "**/api/buy_mpi");
    await buy(page);
    await expect(page.getByRole("button", { name: "Erneut versuchen" })).toBeVisible();
  },
  "a purchase that was interrupted": async (page) => {
    await hangs(page, "**/api/buy_mpi");
    await buy(page);
    await expect(page.getByRole("button", { name: "Wird gekauft …" })).toBeVisible();
    await page.reload();
    await expect(page.getByRole("alert")).toContainText("Dieser Kauf wurde unterbrochen");
  },
  "the shop in English": async (page) => {
    await page.goto("/");
    await speakEnglish(page);
    await expect(page.getByRole("button", { name: "Buy Pro" })).toBeVisible();
  },
  "a receipt": async (page) => {
    await buy(page);
    await expect(page.getByTestId("key")).toHaveText(/\./);
  },
  "a receipt in English": async (page) => {
    await buy(page);
    await speakEnglish(page);
    await expect(page.getByTestId("key")).toHaveText(/\./);
  },
  "a receipt without its key": async (page) => {
    await breaks(page, "**/license_key");
    await buy(page);
    await expect(page.getByTestId("key-failure")).toBeVisible();
  },
  "a receipt that loads": async (page) => {
    await hangs(page, "**/api/purchases/*");
    await page.goto(`/#receipt=${crypto.randomUUID()}`);
    await expect(page.getByRole("heading", { name: "Wird geladen …" })).toBeVisible();
  },
  "a receipt that cannot be loaded": async (page) => {
    await breaks(page, "**/api/purchases/*");
    await page.goto(`/#receipt=${crypto.randomUUID()}`);
    await expect(page.getByTestId("receipt-alert")).toBeVisible();
  },
  "a receipt that does not exist": async (page) => {
    await page.goto(`/#receipt=${crypto.randomUUID()}`);
    await expect(page.getByRole("heading", { name: "Diese Quittung gibt es nicht" })).toBeVisible();
  },
  "the page about licence keys": async (page) => {
    await page.goto("/verify.html");
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  },
  "the page about licence keys in English": async (page) => {
    await page.goto("/verify.html");
    await speakEnglish(page);
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Verify a licence key");
  },
  "the sales page in English": async (page) => {
    await page.goto("/sales.html");
    await speakEnglish(page);
    await expect(page.getByTestId("health")).toHaveText("Live");
    await page.getByText("As a table").click();
    await expect(page.getByTestId("series").getByRole("row")).not.toHaveCount(0);
  },
  "what is said about a bar": async (page) => {
    await page.goto("/sales.html");
    await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
    await page.getByTestId("plot").hover();
    await expect(page.getByTestId("tip")).toBeVisible();
  },
  "the sales page that connects again": async (page) => {
    await streams(page, 0, false);
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Verbindet neu");
  },
  "figures that are old": async (page) => {
    await streams(page, 60_000, true);
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Veraltet");
  },
  "the sales page": async (page) => {
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Live");
    await expect(page.getByTestId("plot").locator("canvas").first()).toBeVisible();
    await page.getByText("Als Tabelle").click();
    await expect(page.getByTestId("series").getByRole("row")).not.toHaveCount(0);
  },
  "a part of the history in which nothing was sold": async (page) => {
    await page.goto("/sales.html");
    await page.getByLabel("Tag", { exact: true }).fill("2020-02-29");
    await expect(page.getByText("In dieser Zeit wurde nichts verkauft.").first()).toBeVisible();
  },
  "the sales page before anything has come": async (page) => {
    await hangs(page, "**/api/sales/**");
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Lädt");
  },
  "the sales page without a connection": async (page) => {
    await breaks(page, "**/api/sales/**");
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Offline");
    await expect(page.getByTestId("latest-failure")).toBeVisible();
  },
  "figures of which some are not updated": async (page) => {
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Live");
    await expect(page.getByTestId("today-count")).toHaveText(/ Verk/);
    await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
    await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
    await breaks(page, "**/api/sales/history*");
    await breaks(page, "**/api/sales/latest*");
    await page.request.post("/api/buy_mpi", { data: { license: "pro" } });
    await expect(page.getByText(/ gerade nicht aktualisiert\./)).toHaveCount(3);
  },
  "the sales page without its chart": async (page) => {
    await breaks(page, "**/assets/chart-*");
    await page.goto("/sales.html");
    await expect(page.getByTestId("history-failure")).toBeVisible();
  },
  "a reset that is asked about": openReset,
  "nothing sold since a reset": async (page) => {
    await openReset(page);
    await page.getByRole("dialog").getByRole("button", { name: "Zurücksetzen" }).click();
    await expect(page.getByTestId("count")).toHaveText("0");
    await expect(page.getByTestId("reset-done")).toHaveText(/^Zurückgesetzt am /);
  },
  "a reset that failed": async (page) => {
    await breaks(page, "**/api/sales");
    await openReset(page);
    await page.getByRole("dialog").getByRole("button", { name: "Zurücksetzen" }).click();
    await expect(page.getByTestId("reset-failure")).toBeVisible();
  },
  "the sales page, signed out": async (page) => {
    await page.goto(`${process.env["SALES_SECURE_URL"] ?? ""}/sales.html`);
    await expect(page.getByRole("heading", { name: "Anmelden" })).toBeVisible();
  },
  "the sales page, signed in": async (page) => {
    await signIn(page, "operator");
    await expect(page.getByTestId("health")).toHaveText("Live");
  },
  "signed in without the role": async (page) => {
    await signIn(page, "auditor");
    await expect(page.getByRole("heading", { name: "Kein Zugang" })).toBeVisible();
  },
  "a session that has ended": async (page) => {
    await signIn(page, "sales");
    await page.context().clearCookies();
    // A page that is seen again asks.
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await expect(page.getByText("Ihre Sitzung ist beendet.")).toBeVisible();
    await expect(page.getByRole("heading", { name: "Anmelden" })).toBeVisible();
  },
  "a token that is not accepted": async (page) => {
    await page.goto(`${process.env["SALES_SECURE_URL"] ?? ""}/sales.html#token=sales_of_somebody_else`);
    await expect(page.getByTestId("trouble")).toBeVisible();
  },
};

for (const [name, reach] of Object.entries(states)) {
  test(name, async ({ page, request }) => {
    await buyElsewhere(request, "basic");
    await reach(page);
    await expectAccessible(page);
  });
}
