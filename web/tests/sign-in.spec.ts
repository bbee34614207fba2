/** A closed system: its pages, its cookie, and the real issuer behind it. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "@playwright/test";
import { buyElsewhere, expect, test as base } from "./stack";

/** Tokens that the system takes, called by what they may do. The operator's has the roles sales and operator. */
interface Tokens {
  sales: string;
  operator: string;
  auditor: string;
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") {
    throw new Error(`${name} must be set: these tests drive a system that was started with \`--secure\``);
  }
  return value;
}

const test = base.extend<{ tokens: Tokens }>({
  // eslint-disable-next-line no-empty-pattern -- Playwright reads a fixture's needs from its pattern.
  baseURL: async ({}, use) => {
    await use(required("SALES_SECURE_URL").replace(/\/$/, ""));
  },
  // eslint-disable-next-line no-empty-pattern
  tokens: async ({}, use) => {
    await use(JSON.parse(readFileSync(required("SALES_SECURE_TOKENS"), "utf8")) as Tokens);
  },
  // What a closed system refuses, the browser reports.
  failedRequestsExpected: true,
});

async function signIn(page: Page, token: string): Promise<void> {
  await page.goto("/sales.html");
  await page.getByLabel("Zugangstoken").fill(token);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("button", { name: "Abmelden" })).toBeVisible();
}

async function expectSignedOut(page: Page): Promise<void> {
  await expect(page.getByRole("heading", { name: "Anmelden" })).toBeVisible();
  await expect(page.getByTestId("figures")).toBeHidden();
  await expect(page.getByTestId("count")).toHaveText("–");
  await expect(page.getByRole("button", { name: "Abmelden" })).toBeHidden();
}

/** The number of sales that the page shows, once it shows one. */
async function shownCount(page: Page): Promise<number> {
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByTestId("count")).toHaveText(/^[\d.]+$/);
  return Number((await page.getByTestId("count").innerText()).replaceAll(".", ""));
}

const german = (value: number): string => value.toLocaleString("de-DE");

/** Two minutes pass, in which the page could ask for figures many times. */
async function expectNoQuestions(page: Page, during: () => Promise<void> = () => Promise.resolve()): Promise<void> {
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await during();
  await page.clock.fastForward("02:00");
  // Whatever the page has asked is heard of before this.
  await page.evaluate(() => fetch("/api/session"));
  expect(asked).toContain("/api/session");
  expect(asked.filter((path) => path.startsWith("/api/sales"))).toEqual([]);
}

test("signed out, the page says how to sign in, and asks for no figures", async ({ page }) => {
  await page.clock.install();
  await expectNoQuestions(page, async () => {
    await page.goto("/sales.html");
    await expectSignedOut(page);
  });
  await expect(page.getByRole("status").first()).toHaveText("Melden Sie sich an, um die Verkaufszahlen zu sehen.");
  await expect(page.getByLabel("Zugangstoken")).toHaveAttribute("type", "password");
  await expect(page.getByRole("link", { name: "Mit Firmenkonto anmelden" })).toBeFocused();
  await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeHidden();
});

test("the figures and the reset are refused to those who are not signed in, by the services themselves", async ({
  request,
}) => {
  for (const refused of [await request.get("/api/get_current_money"), await request.delete("/api/sales")]) {
    expect(refused.status()).toBe(401);
    expect(refused.headers()["content-type"]).toContain("application/problem+json");
    expect(((await refused.json()) as { type: string }).type).toBe("urn:sales:problem:unauthenticated");
  }
});

test("a wrong token is refused in words, and the field is ready for the right one", async ({ page, tokens }) => {
  await page.goto("/sales.html");
  await page.getByLabel("Zugangstoken").fill("sales_of_somebody_else");
  await page.getByRole("button", { name: "Anmelden" }).click();
  await expect(page.getByRole("alert").first()).toHaveText(/^Dieses Zugangstoken wird nicht angenommen\./);
  await expect(page.getByLabel("Zugangstoken")).toBeFocused();
  await expect(page.getByLabel("Zugangstoken")).toHaveValue("");
  await expect(page.getByLabel("Zugangstoken")).toHaveAttribute("aria-invalid", "true");
  await expectSignedOut(page);

  await page.keyboard.type(tokens.sales);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toBeFocused();
  await expect(page.getByTestId("trouble")).toBeHidden();
  await shownCount(page);
});

test("after signing in the figures show, and move when somebody buys elsewhere", async ({ page, request, tokens }) => {
  await signIn(page, tokens.sales);
  await expect(page.getByTestId("who")).toHaveText(/^Angemeldet als ./);
  const count = await shownCount(page);
  // Buying needs no token: this request has none.
  await buyElsewhere(request, "pro");
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));

  await page.reload();
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
});

test("the session is in a cookie that no script and no other site gets, and nowhere else", async ({ page, tokens }) => {
  await signIn(page, tokens.sales);
  await shownCount(page);
  expect(await page.evaluate(() => document.cookie)).toBe("");
  expect(await page.evaluate(() => localStorage.length + sessionStorage.length)).toBe(0);
  const cookies = await page.context().cookies();
  expect(cookies).toHaveLength(1);
  expect(cookies[0]).toMatchObject({ httpOnly: true, sameSite: "Strict" });
});

test("signing out ends the session, also after a reload", async ({ page, tokens }) => {
  await signIn(page, tokens.sales);
  await shownCount(page);
  await page.getByRole("button", { name: "Abmelden" }).click();
  await expectSignedOut(page);
  expect(await page.context().cookies()).toEqual([]);
  await page.reload();
  await expectSignedOut(page);
});

test("nothing of the history is left in the page when somebody signs out", async ({ page, request, tokens }) => {
  await buyElsewhere(request, "pro");
  await signIn(page, tokens.sales);
  await page.getByText("Als Tabelle").click();
  await expect(page.getByTestId("series").getByRole("row")).not.toHaveCount(0);
  await page.getByRole("button", { name: "Abmelden" }).click();
  await expectSignedOut(page);
  await expect(page.getByTestId("figures")).not.toContainText("€");
});

test("a session that ends by itself takes the figures away, says so, and asks for nothing more", async ({
  page,
  request,
  tokens,
}) => {
  await page.clock.install();
  await signIn(page, tokens.operator);
  await shownCount(page);
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await page.context().clearCookies();
  // What has come is looked at, and that is refused.
  await buyElsewhere(request, "basic");

  await expect(page.getByText("Ihre Sitzung ist beendet. Bitte melden Sie sich wieder an.")).toBeVisible();
  await expectSignedOut(page);
  await expect(page.getByRole("dialog")).toBeHidden();
  await expect(page.getByRole("heading", { name: "Anmelden" })).toBeFocused();
  await expect(page.getByRole("link", { name: "Mit Firmenkonto anmelden" })).toBeVisible();
  await expectNoQuestions(page);

  await page.getByLabel("Zugangstoken").fill(tokens.sales);
  await page.keyboard.press("Enter");
  await shownCount(page);
});

test("an address with a token signs in, and the token is gone from the address and the history", async ({
  page,
  tokens,
}) => {
  await page.goto("/");
  await page.goto(`/sales.html#token=${tokens.sales}`);
  await shownCount(page);
  // The browser's own list; the page's is empty under this referrer policy.
  const browser = await page.context().newCDPSession(page);
  const places = async (): Promise<string[]> =>
    (await browser.send("Page.getNavigationHistory")).entries.map(({ url }) => url);
  expect((await places()).filter((place) => place.includes("sales.html"))).not.toEqual([]);
  expect((await places()).filter((place) => place.includes("token"))).toEqual([]);
  await page.goto("/");
  await page.goBack();
  await shownCount(page);
  expect((await places()).filter((place) => place.includes("token"))).toEqual([]);
});

test("an address with a token also works when it is pasted into the open page", async ({ page, tokens }) => {
  await page.goto("/sales.html");
  await expectSignedOut(page);
  await page.evaluate((token) => {
    location.hash = `token=${token}`;
  }, tokens.sales);
  await shownCount(page);
  expect(page.url()).not.toContain("token");
});

test("an address with a token that is not accepted says so", async ({ page }) => {
  await page.goto("/sales.html#token=sales_of_somebody_else");
  await expect(page.getByRole("alert").first()).toHaveText(/^Dieses Zugangstoken wird nicht angenommen\./);
  await expectSignedOut(page);
  expect(page.url()).not.toContain("token");
});

test("sales see no reset, and the service refuses it to them", async ({ page, tokens }) => {
  await signIn(page, tokens.sales);
  const count = await shownCount(page);
  await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeHidden();
  expect(await page.evaluate(async () => (await fetch("/api/sales", { method: "DELETE" })).status)).toBe(403);
  expect(await shownCount(page)).toBe(count);
});

test("an operator resets, and says why", async ({ page, request, tokens }) => {
  await buyElsewhere(request, "basic");
  await signIn(page, tokens.operator);
  expect(await shownCount(page)).toBeGreaterThan(0);
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Grund").fill("Jahresabschluss 2026 & Übergabe");
  const answer = page.waitForResponse("**/api/sales?*");
  await dialog.getByRole("button", { name: "Zurücksetzen" }).click();
  expect((await answer).status()).toBe(200);
  expect(new URL((await answer).url()).searchParams.get("reason")).toBe("Jahresabschluss 2026 & Übergabe");
  await expect(page.getByTestId("count")).toHaveText("0");
  await expect(page.getByTestId("reset-done")).toHaveText(/^Zurückgesetzt am /);
});

test("a reason may have 500 characters, and need not be given", async ({ page, tokens }) => {
  await signIn(page, tokens.operator);
  const dialog = page.getByRole("dialog");
  for (const [typed, sent] of [
    ["ü".repeat(501), "ü".repeat(500)],
    ["", null],
  ] as const) {
    await page.getByRole("button", { name: "Zurücksetzen …" }).click();
    await dialog.getByLabel("Grund").focus();
    await page.keyboard.insertText(typed);
    const answer = page.waitForResponse((response) => new URL(response.url()).pathname === "/api/sales");
    await dialog.getByRole("button", { name: "Zurücksetzen" }).click();
    expect((await answer).status()).toBe(200);
    expect(new URL((await answer).url()).searchParams.get("reason")).toBe(sent);
    await expect(dialog).toBeHidden();
  }
});

test("whoever is signed in without the role is told so, and can sign in as somebody else", async ({ page, tokens }) => {
  await signIn(page, tokens.auditor);
  await expect(page.getByRole("heading", { name: "Kein Zugang" })).toBeFocused();
  await expect(page.getByTestId("figures")).toBeHidden();
  await page.getByRole("button", { name: "Anders anmelden" }).click();
  await expectSignedOut(page);
});

test("another tab that is signed out lets the reader in when it is seen again", async ({ page, tokens }) => {
  await page.goto("/sales.html");
  await expectSignedOut(page);
  const other = await page.context().newPage();
  await signIn(other, tokens.sales);
  await other.close();
  // A headless browser shows all its tabs at once.
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await shownCount(page);
});

test("a page from another origin of the same site can neither reset nor sign anybody in", async ({
  page,
  request,
  baseURL,
  tokens,
}) => {
  const home = baseURL ?? "";
  await buyElsewhere(request, "basic");
  await signIn(page, tokens.operator);
  const count = await shownCount(page);
  const who = await page.getByTestId("who").innerText();

  const server = createServer((_request, response) => {
    response.setHeader("Content-Type", "text/html").end("<!doctype html><title>Elsewhere</title>");
  });
  // A site is a host without its port, so that SameSite does not keep the cookie from what is sent from here.
  const host = new URL(home).hostname;
  await new Promise<void>((listening) => server.listen(0, host, listening));
  const elsewhere = `http://${host}:${(server.address() as AddressInfo).port}`;
  try {
    const other = await page.context().newPage();
    await other.goto(elsewhere);
    // The browser asks the service first, which must not agree.
    const reset = await other.evaluate(
      (url) => fetch(url, { method: "DELETE", credentials: "include" }).then(String, () => "refused"),
      `${home}/api/sales`,
    );
    expect(reset).toBe("refused");

    // These are sent without asking first; only the service can tell where they come from. Its answer is kept from the page,
    // and what came of it is seen at the end.
    const sent = other.waitForRequest(`${home}/api/session`);
    await other.evaluate(
      ([url, token]) =>
        fetch(url, {
          method: "POST",
          mode: "no-cors",
          credentials: "include",
          body: JSON.stringify({ token }),
        }).then(String, String),
      [`${home}/api/session`, tokens.sales] as const,
    );
    await sent;
    // The form sends {"token":"…","padding":"="} as plain text.
    const posted = other.waitForResponse(`${home}/api/session`);
    await other.evaluate(
      ([url, token]) => {
        const form = Object.assign(document.createElement("form"), { method: "post", action: url, enctype: "text/plain" });
        form.append(Object.assign(document.createElement("input"), { name: `{"token":"${token}","padding":"`, value: '"}' }));
        document.body.append(form);
        form.submit();
      },
      [`${home}/api/session`, tokens.sales] as const,
    );
    expect((await posted).status()).toBeGreaterThanOrEqual(400);
    await other.waitForURL(`${home}/api/session`);
    await other.close();

    // What the browser would not send at all is refused too: with the operator's cookie, from elsewhere.
    for (const origin of [elsewhere, "null"]) {
      const refused = await page.context().request.delete("/api/sales", { headers: { Origin: origin } });
      expect(refused.status()).toBe(403);
    }
  } finally {
    server.close();
  }

  await page.reload();
  await expect(page.getByTestId("who")).toHaveText(who);
  await buyElsewhere(request, "basic");
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
});

async function signInAtIssuer(page: Page, login: string): Promise<void> {
  await page.goto("/sales.html");
  await page.getByRole("link", { name: "Mit Firmenkonto anmelden" }).click();
  await page.getByLabel("Login").fill(login);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/sales.html");
  await expect(page.getByTestId("who")).toHaveText(`Angemeldet als ${login}`);
}

test("one signs in, looks and signs out through the issuer", async ({ page, request, baseURL }) => {
  await signInAtIssuer(page, "alice-sales");
  const count = await shownCount(page);
  await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeHidden();
  await buyElsewhere(request, "basic");
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
  await page.reload();
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));

  await page.getByRole("button", { name: "Abmelden" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(`${baseURL}/sales.html`);
  await expectSignedOut(page);
  // At the issuer too: it asks again who is there.
  await page.getByRole("link", { name: "Mit Firmenkonto anmelden" }).click();
  await expect(page.getByLabel("Login")).toBeVisible();
});

test("the issuer's roles decide who may reset, and who may look", async ({ page, request }) => {
  await buyElsewhere(request, "basic");
  await signInAtIssuer(page, "olga-operator");
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Zurücksetzen" }).click();
  await expect(page.getByTestId("count")).toHaveText("0");

  await page.context().clearCookies();
  await signInAtIssuer(page, "carl-customer");
  await expect(page.getByRole("heading", { name: "Kein Zugang" })).toBeVisible();
  await expect(page.getByTestId("figures")).toBeHidden();
});

test("a sign-in at the issuer that failed is said once", async ({ page }) => {
  await page.goto("/sales.html?sign-in=failed");
  await expect(page.getByRole("alert").first()).toHaveText(
    "Die Anmeldung ist nicht gelungen. Bitte versuchen Sie es noch einmal.",
  );
  await expectSignedOut(page);
  expect(page.url()).not.toContain("failed");
  await page.reload();
  await expectSignedOut(page);
  await expect(page.getByTestId("trouble")).toBeHidden();
});

test("signing in fits on a phone, and nothing moves when the name appears", async ({ page, tokens }) => {
  await page.setViewportSize({ width: 320, height: 640 });
  await page.goto("/sales.html");
  await expectSignedOut(page);
  const width = (): Promise<number> => page.evaluate(() => document.documentElement.scrollWidth);
  expect(await width()).toBe(320);
  const heading = page.getByRole("heading", { level: 1 });
  const before = await heading.boundingBox();

  await signIn(page, tokens.operator);
  await shownCount(page);
  expect(await width()).toBe(320);
  expect(await heading.boundingBox()).toEqual(before);
});
