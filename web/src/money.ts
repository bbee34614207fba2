import { numberFormat } from "./format";

/** An amount in the currency's minor unit, such as cents, and its ISO 4217 code. */
export interface Money {
  amount_minor: number;
  currency: string;
}

/**
 * Formats money for `locale`. The decimal point is placed in the text, not by division: `Intl` reads decimal text
 * exactly, so no amount passes through a float.
 */
export function formatMoney(money: Money, locale: string): string {
  const format = numberFormat(locale, { style: "currency", currency: money.currency });
  const minorDigits = format.resolvedOptions().maximumFractionDigits ?? 0;
  return format.format(toDecimal(money.amount_minor, minorDigits));
}

/** `toDecimal(-5, 2)` is `"-0.05"`. */
export function toDecimal(amountMinor: number, minorDigits: number): Intl.StringNumericLiteral {
  const sign = amountMinor < 0 ? "-" : "";
  const digits = String(Math.abs(amountMinor)).padStart(minorDigits + 1, "0");
  const point = digits.length - minorDigits;
  const fraction = minorDigits === 0 ? "" : `.${digits.slice(point)}`;
  // Digits with a decimal point are a numeric literal, which the compiler cannot infer.
  return `${sign}${digits.slice(0, point)}${fraction}` as Intl.StringNumericLiteral;
}

/** Compact, for the axis of a chart: “1.2K €”. */
export function formatShortMoney(money: Money, locale: string): string {
  const { currency } = money;
  const minorDigits = numberFormat(locale, { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
  const format = numberFormat(locale, { style: "currency", currency, notation: "compact" });
  return format.format(toDecimal(money.amount_minor, minorDigits ?? 0));
}
