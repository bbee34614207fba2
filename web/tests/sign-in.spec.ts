/** A closed system: its pages, its session cookie, and a real OpenID Connect issuer. */
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "@playwright/test";
import { buyViaApi, closedSystemTest as test, expect, required } from "./stack";

/** The fragments of new one-time addresses. */
function fragments(): { sales: string; operator: string } {
  const args = ["sign-in", "--data-dir", required("SALES_SECURE_DATA")];
  const printed = execFileSync(required("SALES_STACK"), args, { encoding: "utf8" });
  const [sales, operator] = printed.match(/#token=\S+/g) ?? [];
  return { sales: sales ?? "", operator: operator ?? "" };
}

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

/** The number of sales on the page, once it is loaded. */
async function shownCount(page: Page): Promise<number> {
  await expect(page.getByTestId("health")).toHaveText("Live");
  await expect(page.getByTestId("count")).toHaveText(/^[\d.]+$/);
  return Number((await page.getByTestId("count").innerText()).replaceAll(".", ""));
}

const german = (value: number): string => value.toLocaleString("de-DE");

/** Checks that the page requests no figures for two minutes. */
async function expectNoRequests(page: Page, during: () => Promise<void> = () => Promise.resolve()): Promise<void> {
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await during();
  await page.clock.fastForward("02:00");
  // Earlier requests are reported before this one.
  await page.evaluate(() => fetch("/api/session"));
  expect(asked).toContain("/api/session");
  expect(asked.filter((path) => path.startsWith("/api/sales"))).toEqual([]);
}

test("the signed-out page offers the ways to sign in, and requests no figures", async ({ page }) => {
  await page.clock.install();
  await expectNoRequests(page, async () => {
    await page.goto("/sales.html");
    await expectSignedOut(page);
  });
  await expect(page.getByRole("status").first()).toHaveText("Melden Sie sich an, um die Verkaufszahlen zu sehen.");
  await expect(page.getByLabel("Zugangstoken")).toHaveAttribute("type", "password");
  await expect(page.getByRole("link", { name: "Mit Firmenkonto anmelden" })).toBeFocused();
  await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeHidden();
});

test("the services themselves reject unauthenticated requests for the figures and for a reset", async ({
  request,
}) => {
  for (const rejected of [await request.get("/api/get_current_money"), await request.delete("/api/sales")]) {
    expect(rejected.status()).toBe(401);
    expect(rejected.headers()["content-type"]).toContain("application/problem+json");
    expect(((await rejected.json()) as { type: string }).type).toBe("urn:sales:problem:unauthenticated");
  }
});

test("an invalid token is rejected with a reason, and the field is ready for another one", async ({ page, tokens }) => {
  await page.goto("/sales.html");
  await page.getByLabel("Zugangstoken").fill("sales_not_a_valid_token");
  await page.getByRole("button", { name: "Anmelden" }).click();
  await expect(page.getByRole("alert").first()).toHaveText(/^Dieses Zugangstoken ist ungültig\./);
  await expect(page.getByLabel("Zugangstoken")).toBeFocused();
  await expect(page.getByLabel("Zugangstoken")).toHaveValue("");
  await expect(page.getByLabel("Zugangstoken")).toHaveAttribute("aria-invalid", "true");
  await expectSignedOut(page);

  await page.keyboard.type(tokens.sales);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toBeFocused();
  await expect(page.getByTestId("sign-in-failure")).toBeHidden();
  await shownCount(page);
});

test("after signing in the figures are shown, and update when another customer buys", async ({ page, request, tokens }) => {
  await signIn(page, tokens.sales);
  await expect(page.getByTestId("who")).toHaveText(/^Angemeldet als ./);
  const count = await shownCount(page);
  // Buying needs no token.
  await buyViaApi(request, "pro");
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));

  await page.reload();
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
});

test("the session is stored only in a cookie that is unavailable to scripts and other sites", async ({ page, tokens }) => {
  await signIn(page, tokens.sales);
  await shownCount(page);
  expect(await page.evaluate(() => document.cookie)).toBe("");
  expect(await page.evaluate(() => localStorage.length + sessionStorage.length)).toBe(0);
  const cookies = await page.context().cookies();
  expect(cookies).toHaveLength(1);
  expect(cookies[0]).toMatchObject({ httpOnly: true, sameSite: "Strict" });
});

test("signing out ends the session, even after a reload", async ({ page, tokens }) => {
  await signIn(page, tokens.sales);
  await shownCount(page);
  await page.getByRole("button", { name: "Abmelden" }).click();
  await expectSignedOut(page);
  expect(await page.context().cookies()).toEqual([]);
  await page.reload();
  await expectSignedOut(page);
});

test("signing out removes the history from the page", async ({ page, request, tokens }) => {
  await buyViaApi(request, "pro");
  await signIn(page, tokens.sales);
  await page.getByText("Als Tabelle").click();
  await expect(page.getByTestId("series").getByRole("row")).not.toHaveCount(0);
  await page.getByRole("button", { name: "Abmelden" }).click();
  await expectSignedOut(page);
  await expect(page.getByTestId("figures")).not.toContainText("€");
});

test("a session that ends unexpectedly hides the figures, reports this and stops all requests", async ({
  page,
  request,
  tokens,
}) => {
  await page.clock.install();
  await signIn(page, tokens.operator);
  await shownCount(page);
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await page.context().clearCookies();
  // The page reloads its figures, which is rejected.
  await buyViaApi(request, "basic");

  await expect(page.getByText("Ihre Sitzung wurde beendet. Bitte melden Sie sich erneut an.")).toBeVisible();
  await expectSignedOut(page);
  await expect(page.getByRole("dialog")).toBeHidden();
  await expect(page.getByRole("heading", { name: "Anmelden" })).toBeFocused();
  await expect(page.getByRole("link", { name: "Mit Firmenkonto anmelden" })).toBeVisible();
  await expectNoRequests(page);

  await page.getByLabel("Zugangstoken").fill(tokens.sales);
  await page.keyboard.press("Enter");
  await shownCount(page);
});

test("an address with a code signs in, and the code is removed from the address and the browser history", async ({
  page,
}) => {
  await page.goto("/");
  await page.goto(`/sales.html${fragments().sales}`);
  await shownCount(page);
  // The browser's own list of entries, which the page cannot read.
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

test("an address with a code works when it is pasted into the open page", async ({ page }) => {
  await page.goto("/sales.html");
  await expectSignedOut(page);
  await page.evaluate((fragment) => {
    location.hash = fragment;
  }, fragments().sales);
  await shownCount(page);
  expect(page.url()).not.toContain("token");
});

test("an address with a lasting token does not sign in", async ({ page, tokens }) => {
  await page.goto(`/sales.html#token=${tokens.sales}`);
  await expectSignedOut(page);
  expect(page.url()).not.toContain("token");
});

test("an address with another user's code asks before it replaces the session", async ({ page, tokens }) => {
  await signIn(page, tokens.sales);
  const who = await page.getByTestId("who").innerText();
  const question = page.getByRole("heading", { name: "Mit einem anderen Token anmelden?" });

  await page.goto("/");
  await page.goto(`/sales.html${fragments().operator}`);
  await expect(question).toBeFocused();
  await expect(page.getByTestId("who")).toHaveText(who);
  expect(page.url()).not.toContain("token");
  await page.getByRole("button", { name: "Angemeldet bleiben" }).click();
  await expect(question).toBeHidden();
  await page.reload();
  await expect(page.getByTestId("who")).toHaveText(who);
  await expect(question).toBeHidden();

  // Another page may also change the fragment of an open page.
  await page.evaluate((fragment) => {
    location.hash = fragment;
  }, fragments().operator);
  await page.getByRole("button", { name: "Mit dem anderen Token anmelden" }).click();
  await expect(page.getByTestId("who")).not.toHaveText(who);
  await expect(question).toBeHidden();
  await shownCount(page);

  // The link of the current session asks nothing.
  await page.goto("/");
  await page.goto(`/sales.html${fragments().operator}`);
  await shownCount(page);
  await expect(question).toBeHidden();
});

test("a token that is entered while another tab is signed in asks, too", async ({ page, tokens }) => {
  await page.goto("/sales.html");
  await expectSignedOut(page);
  const other = await page.context().newPage();
  await signIn(other, tokens.sales);
  const who = await other.getByTestId("who").innerText();
  await page.getByLabel("Zugangstoken").fill(tokens.operator);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Mit einem anderen Token anmelden?" })).toBeVisible();
  await expect(page.getByTestId("who")).toHaveText(who);
});

test("an address with an invalid code is rejected with a reason", async ({ page }) => {
  await page.goto("/sales.html#token=once_not_a_valid_code");
  await expect(page.getByRole("alert").first()).toHaveText(/^Dieses Zugangstoken ist ungültig\./);
  await expectSignedOut(page);
  expect(page.url()).not.toContain("token");
});

test("sales have no reset button, and the service rejects their reset", async ({ page, tokens }) => {
  await signIn(page, tokens.sales);
  const count = await shownCount(page);
  await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeHidden();
  expect(await page.evaluate(async () => (await fetch("/api/sales", { method: "DELETE" })).status)).toBe(403);
  expect(await shownCount(page)).toBe(count);
});

test("an operator resets with a reason", async ({ page, request, tokens }) => {
  await buyViaApi(request, "basic");
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

test("a reason is optional, and has at most 500 characters", async ({ page, tokens }) => {
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

test("a user without the role is informed, and can sign in with another account", async ({ page, tokens }) => {
  await signIn(page, tokens.auditor);
  await expect(page.getByRole("heading", { name: "Kein Zugriff" })).toBeFocused();
  await expect(page.getByTestId("figures")).toBeHidden();
  await page.getByRole("button", { name: "Mit anderem Konto anmelden" }).click();
  await expectSignedOut(page);
});

test("a signed-out tab is signed in after a sign-in in another tab", async ({ page, tokens }) => {
  await page.goto("/sales.html");
  await expectSignedOut(page);
  const other = await page.context().newPage();
  await signIn(other, tokens.sales);
  await other.close();
  // In a headless browser all tabs are visible.
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await shownCount(page);
});

test("a page from another origin of the same site can neither reset nor sign in", async ({
  page,
  request,
  baseURL,
  tokens,
}) => {
  const home = baseURL ?? "";
  await buyViaApi(request, "basic");
  await signIn(page, tokens.operator);
  const count = await shownCount(page);
  const who = await page.getByTestId("who").innerText();

  const server = createServer((_request, response) => {
    response.setHeader("Content-Type", "text/html").end("<!doctype html><title>Elsewhere</title>");
  });
  // Ports do not distinguish sites, so SameSite does not withhold the cookie from this origin.
  const host = new URL(home).hostname;
  await new Promise<void>((listening) => server.listen(0, host, listening));
  const elsewhere = `http://${host}:${(server.address() as AddressInfo).port}`;
  try {
    const other = await page.context().newPage();
    await other.goto(elsewhere);
    // The browser sends a preflight request, which the service must reject.
    const reset = await other.evaluate(
      (url) => fetch(url, { method: "DELETE", credentials: "include" }).then(String, () => "refused"),
      `${home}/api/sales`,
    );
    expect(reset).toBe("refused");

    // These are sent without a preflight, so only the service can check the origin. The page cannot read the response; the
    // effect is checked at the end.
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

    // Requests that no browser would send, with the operator's cookie and another origin, are rejected, too.
    for (const origin of [elsewhere, "null"]) {
      const rejected = await page.context().request.delete("/api/sales", { headers: { Origin: origin } });
      expect(rejected.status()).toBe(403);
    }
  } finally {
    server.close();
  }

  await page.reload();
  await expect(page.getByTestId("who")).toHaveText(who);
  await buyViaApi(request, "basic");
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

test("a user signs in and out at the issuer", async ({ page, request, baseURL }) => {
  await signInAtIssuer(page, "alice-sales");
  const count = await shownCount(page);
  await expect(page.getByRole("button", { name: "Zurücksetzen …" })).toBeHidden();
  await buyViaApi(request, "basic");
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));
  await page.reload();
  await expect(page.getByTestId("count")).toHaveText(german(count + 1));

  await page.getByRole("button", { name: "Abmelden" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(`${baseURL}/sales.html`);
  await expectSignedOut(page);
  // The session at the issuer has ended, too.
  await page.getByRole("link", { name: "Mit Firmenkonto anmelden" }).click();
  await expect(page.getByLabel("Login")).toBeVisible();
});

test("two sign-ins at the issuer at once both succeed", async ({ page }) => {
  const other = await page.context().newPage();
  const login = async (tab: Page): Promise<void> => {
    await tab.goto("/sales.html");
    await tab.getByRole("link", { name: "Mit Firmenkonto anmelden" }).click();
    await expect(tab.getByLabel("Login")).toBeVisible();
  };
  await login(page);
  await login(other);
  for (const tab of [page, other]) {
    await tab.getByLabel("Login").fill("alice-sales");
    await tab.getByRole("button", { name: "Sign in" }).click();
    await tab.waitForURL("**/sales.html");
    await expect(tab.getByTestId("who")).toHaveText("Angemeldet als alice-sales");
  }
});

test("a link on another site starts no sign-in", async ({ page, baseURL }) => {
  const server = createServer((_request, response) => {
    response.setHeader("Content-Type", "text/html").end(`<a href="${baseURL}/api/session/start">Sign in</a>`);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  try {
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    await page.getByRole("link").click();
    await page.waitForURL(`${baseURL}/sales.html`);
    await expectSignedOut(page);
  } finally {
    server.close();
  }
});

test("the issuer's roles determine who may reset, and who may see the figures", async ({ page, request }) => {
  await buyViaApi(request, "basic");
  await signInAtIssuer(page, "olga-operator");
  await page.getByRole("button", { name: "Zurücksetzen …" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Zurücksetzen" }).click();
  await expect(page.getByTestId("count")).toHaveText("0");

  await page.context().clearCookies();
  await signInAtIssuer(page, "carl-customer");
  await expect(page.getByRole("heading", { name: "Kein Zugriff" })).toBeVisible();
  await expect(page.getByTestId("figures")).toBeHidden();
});

test("a failed sign-in at the issuer is reported once", async ({ page }) => {
  await page.goto("/sales.html?sign-in=failed");
  await expect(page.getByRole("alert").first()).toHaveText(
    "Die Anmeldung ist fehlgeschlagen. Bitte versuchen Sie es noch einmal.",
  );
  await expectSignedOut(page);
  expect(page.url()).not.toContain("failed");
  await page.reload();
  await expectSignedOut(page);
  await expect(page.getByTestId("sign-in-failure")).toBeHidden();
});

test("signing in fits on a phone, and the name does not shift the layout", async ({ page, tokens }) => {
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
