import { afterEach, expect, test, vi } from "vitest";
import type { UrlParams } from "./url-params";

const replaceState = vi.fn();

async function load(href: string): Promise<UrlParams> {
  vi.resetModules();
  vi.stubGlobal("location", new URL(href));
  vi.stubGlobal("history", { replaceState });
  return (await import("./url-params")).urlParams;
}

afterEach(() => {
  vi.unstubAllGlobals();
  replaceState.mockClear();
});

test("a code is removed from the address when the module is loaded", async () => {
  const params = await load("http://localhost:8000/sales.html#token=once_a-b_c");
  expect(params).toEqual({ code: "once_a-b_c", issuerFailed: false });
  expect(replaceState.mock.calls).toEqual([[null, "", "/sales.html"]]);
});

test.each(["", "sales_a-b_c"])("a lasting token (%j) is ignored, but still removed from the address", async (token) => {
  const params = await load(`http://localhost:8000/sales.html#token=${token}`);
  expect(params).toEqual({ code: undefined, issuerFailed: false });
  expect(replaceState.mock.calls).toEqual([[null, "", "/sales.html"]]);
});

test("a failed sign-in is reported once, and not again after a reload", async () => {
  const params = await load("http://localhost:8000/sales.html?sign-in=failed&lang=de");
  expect(params).toEqual({ code: undefined, issuerFailed: true });
  expect(replaceState.mock.calls).toEqual([[null, "", "/sales.html?lang=de"]]);
});

test("any other address is left unchanged", async () => {
  expect(await load("http://localhost:8000/sales.html?token=no#top")).toEqual({ code: undefined, issuerFailed: false });
  expect(replaceState).not.toHaveBeenCalled();
});
