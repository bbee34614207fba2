import { expect, test } from "vitest";
import { formatMoney, toDecimal } from "./money";

/** Replaces the no-break spaces of `Intl`. */
const plain = (text: string): string => text.replaceAll(/\s/g, " ");

test("an amount is formatted for the reader's locale", () => {
  const price = { amount_minor: 1_234_567, currency: "EUR" };
  expect(plain(formatMoney(price, "de-DE"))).toBe("12.345,67 €");
  expect(plain(formatMoney(price, "en-GB"))).toBe("€12,345.67");
});

test("cents keep their leading zeros", () => {
  expect(toDecimal(0, 2)).toBe("0.00");
  expect(toDecimal(5, 2)).toBe("0.05");
  expect(toDecimal(-5, 2)).toBe("-0.05");
  expect(toDecimal(4900, 2)).toBe("49.00");
});

test("the currency determines the number of decimals", () => {
  expect(plain(formatMoney({ amount_minor: 500, currency: "JPY" }, "en-GB"))).toBe("JP¥500");
  expect(plain(formatMoney({ amount_minor: 12_345, currency: "KWD" }, "en-GB"))).toBe("KWD 12.345");
});

test("the largest exact amount is formatted to the cent", () => {
  const largest = { amount_minor: Number.MAX_SAFE_INTEGER, currency: "EUR" };
  expect(formatMoney(largest, "en-GB")).toBe("€90,071,992,547,409.91");
});
