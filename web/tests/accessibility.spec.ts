/**
 * axe finds no violation in any state of the pages, in light and dark, wide and narrow. The tests use the closed system,
 * so they can run at the same time as the tests that count the sales of the open one.
 */
import type { Page } from "@playwright/test";
import { buyViaApi, closedSystemTest as test, expect, expectAccessible } from "./stack";

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

/** A stream that sends totals of this age and ends. Unless it can be reopened, later attempts fail. */
async function streams(page: Page, ageMs: number, canBeReopened: boolean): Promise<void> {
  const none = { sales_count: 0, revenue: { amount_minor: 0, currency: "EUR" } };
  const totals = JSON.stringify({ ...none, by_license: { pro: none }, position: 1, as_of: "2026-11-24T20:00:00Z" });
  const body = `event: totals\nid: 1-1\ndata: ${totals}\n\nevent: age\ndata: {"age_ms":${ageMs}}\n\n`;
  let count = 0;
  await page.route("**/api/sales/stream", (route) => {
    count += 1;
    return count === 1 || canBeReopened ? route.fulfill({ contentType: "text/event-stream", body }) : route.abort();
  });
}

async function signInAgain(page: Page, token: string): Promise<void> {
  await page.context().clearCookies();
  await page.goto("/sales.html");
  await page.getByLabel("Zugangstoken").fill(token);
  await page.keyboard.press("Enter");
  await expect(page.getByTestId("who")).toHaveText(/^Angemeldet als /);
}

async function openReset(page: Page): Promise<void> {
  await page.goto("/sales.html");
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await expect(page.getByRole("dialog")).toBeVisible();
}

const switchToEnglish = (page: Page): Promise<void> => page.getByRole("button", { name: "EN – English" }).click();

const states: Record<string, (page: Page, tokens: { sales: string; auditor: string }) => Promise<void>> = {
  "the shop": async (page) => {
    await page.goto("/");
    await expect(page.getByRole("button", { name: "Pro kaufen" })).toBeVisible();
  },
  "a purchase in progress": async (page) => {
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
    await switchToEnglish(page);
    await expect(page.getByRole("button", { name: "Buy Pro" })).toBeVisible();
  },
  "a receipt": async (page) => {
    await buy(page);
    await expect(page.getByTestId("key")).toHaveText(/\./);
  },
  "a receipt in English": async (page) => {
    await buy(page);
    await switchToEnglish(page);
    await expect(page.getByTestId("key")).toHaveText(/\./);
  },
  "a receipt without its key": async (page) => {
    await breaks(page, "**/license_key");
    await buy(page);
    await expect(page.getByTestId("key-failure")).toBeVisible();
  },
  "a receipt that is loading": async (page) => {
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
    await expect(page.getByRole("heading", { name: "Quittung nicht gefunden" })).toBeVisible();
  },
  "the page about licence keys": async (page) => {
    await page.goto("/verify.html");
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  },
  "the page about licence keys in English": async (page) => {
    await page.goto("/verify.html");
    await switchToEnglish(page);
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Verify a licence key");
  },
  "the sales page in English": async (page) => {
    await page.goto("/sales.html");
    await switchToEnglish(page);
    await expect(page.getByTestId("health")).toHaveText("Live");
    await page.getByText("As a table").click();
    await expect(page.getByTestId("series").getByRole("row")).not.toHaveCount(0);
  },
  "the tooltip of a bar": async (page) => {
    await page.goto("/sales.html");
    await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
    await page.getByTestId("plot").hover();
    await expect(page.getByTestId("tip")).toBeVisible();
  },
  "the sales page while it reconnects": async (page) => {
    await streams(page, 0, false);
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Verbindet neu");
  },
  "outdated figures": async (page) => {
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
  "a part of the history without sales": async (page) => {
    await page.goto("/sales.html");
    await page.getByLabel("Tag", { exact: true }).fill("2020-02-29");
    await expect(page.getByText("In diesem Zeitraum wurde nichts verkauft.").first()).toBeVisible();
  },
  "the sales page while it is loading": async (page) => {
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
  "figures, some of them outdated": async (page) => {
    await page.goto("/sales.html");
    await expect(page.getByTestId("health")).toHaveText("Live");
    await expect(page.getByTestId("today-count")).toHaveText(/ Verk/);
    await expect(page.getByTestId("history-summary")).toHaveText(/ Verk/);
    await expect(page.getByTestId("latest").getByRole("row").first()).not.toContainText("–");
    await breaks(page, "**/api/sales/history*");
    await breaks(page, "**/api/sales/latest*");
    const headers = { Origin: new URL(page.url()).origin };
    expect((await page.request.post("/api/buy_mpi", { data: { license: "pro" }, headers })).status()).toBe(201);
    await expect(page.getByText(/ gerade nicht aktualisiert\./)).toHaveCount(3);
  },
  "the sales page without its chart": async (page) => {
    await breaks(page, "**/assets/chart-*");
    await page.goto("/sales.html");
    await expect(page.getByTestId("history-failure")).toBeVisible();
  },
  "a reset that awaits confirmation": openReset,
  "no sales since a reset": async (page) => {
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
  "the sales page of an open system": async (page) => {
    await page.goto(`${process.env["SALES_URL"] ?? "http://localhost:8000"}/sales.html`);
    await expect(page.getByTestId("health")).toHaveText("Live");
    await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeVisible();
  },
  "the sales page, signed out": async (page) => {
    await page.context().clearCookies();
    await page.goto("/sales.html");
    await expect(page.getByRole("heading", { name: "Anmelden" })).toBeVisible();
  },
  "the sales page without the reset": async (page, { sales }) => {
    await signInAgain(page, sales);
    await expect(page.getByTestId("health")).toHaveText("Live");
  },
  "signed in without the role": async (page, { auditor }) => {
    await signInAgain(page, auditor);
    await expect(page.getByRole("heading", { name: "Kein Zugriff" })).toBeVisible();
  },
  "a session that has ended": async (page, { sales }) => {
    await signInAgain(page, sales);
    await page.context().clearCookies();
    // A page that becomes visible sends requests.
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await expect(page.getByText("Ihre Sitzung wurde beendet.")).toBeVisible();
    await expect(page.getByRole("heading", { name: "Anmelden" })).toBeVisible();
  },
  "an invalid token": async (page) => {
    await page.context().clearCookies();
    await page.goto("/sales.html#token=once_not_a_valid_code");
    await expect(page.getByTestId("sign-in-failure")).toBeVisible();
  },
};

for (const [name, reach] of Object.entries(states)) {
  test(name, async ({ page, request, baseURL, tokens }) => {
    await buyViaApi(request, "basic");
    // The page shares the session cookie. The service accepts sign-ins from its own origin only.
    const signIn = { data: { token: tokens.operator }, headers: { Origin: baseURL ?? "" } };
    expect((await page.request.post("/api/session", signIn)).status()).toBe(200);
    await reach(page, tokens);
    await expectAccessible(page);
  });
}
