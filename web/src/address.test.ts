import { afterEach, expect, test, vi } from "vitest";

const replaceState = vi.fn();

async function arriveAt(href: string): Promise<{ token: string | undefined; cameBack: boolean }> {
  vi.resetModules();
  vi.stubGlobal("location", new URL(href));
  vi.stubGlobal("history", { replaceState });
  return (await import("./address")).arrival;
}

afterEach(() => {
  vi.unstubAllGlobals();
  replaceState.mockClear();
});

test("a token is taken out of the address as soon as the module is loaded", async () => {
  const arrival = await arriveAt("http://localhost:8000/sales.html#token=sales_a-b_c=");
  expect(arrival).toEqual({ token: "sales_a-b_c=", cameBack: false });
  expect(replaceState.mock.calls).toEqual([[null, "", "/sales.html"]]);
});

test("an empty token is none, and goes from the address all the same", async () => {
  expect(await arriveAt("http://localhost:8000/sales.html#token=")).toEqual({ token: undefined, cameBack: false });
  expect(replaceState.mock.calls).toEqual([[null, "", "/sales.html"]]);
});

test("a sign-in that failed is said once, and not again after a reload", async () => {
  const arrival = await arriveAt("http://localhost:8000/sales.html?sign-in=failed&lang=de");
  expect(arrival).toEqual({ token: undefined, cameBack: true });
  expect(replaceState.mock.calls).toEqual([[null, "", "/sales.html?lang=de"]]);
});

test("any other address stays as it is", async () => {
  expect(await arriveAt("http://localhost:8000/sales.html?token=no#top")).toEqual({ token: undefined, cameBack: false });
  expect(replaceState).not.toHaveBeenCalled();
});
