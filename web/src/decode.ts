/**
 * Decodes responses field by field. The parameters have the types that the OpenAPI descriptions promise, so a renamed
 * field or a changed type is a compile error. The value may still come from an older or newer service: each function
 * checks it at run time and throws `Unreadable` if it is anything else.
 */
export class Unreadable extends Error {}

export function object<T extends object>(value: T, name: string): T {
  const received: unknown = value;
  if (typeof received !== "object" || received === null || Array.isArray(received)) {
    throw new Unreadable(`${name} is not an object`);
  }
  return value;
}

export function list<T>(values: readonly T[], name: string): readonly T[] {
  const received: unknown = values;
  if (!Array.isArray(received)) {
    throw new Unreadable(`${name} is not a list`);
  }
  return values;
}

/** The entries of an object that is used as a map. */
export function entries<T>(value: Readonly<Record<string, T>>, name: string): [string, T][] {
  return Object.entries(object(value, name));
}

export function text(value: string, name: string): string {
  const received: unknown = value;
  if (typeof received !== "string" || received === "") {
    throw new Unreadable(`${name} is not a text`);
  }
  return received;
}

/** A text that may be missing or null; the type rejects one that is always there. */
export function optionalText<T extends string | null | undefined>(
  value: T & (null extends T ? unknown : undefined extends T ? unknown : never),
): string | undefined {
  return typeof value === "string" ? value : undefined;
}

export function texts(values: readonly string[], name: string): string[] {
  return list(values, name).map((value) => text(value, name));
}

/** An integer that was transferred exactly: JSON numbers beyond 2^53 are rounded, so they are refused. */
export function integer(value: number, name: string): number {
  if (!Number.isSafeInteger(value)) {
    throw new Unreadable(`${name} is not an exact integer`);
  }
  return value;
}

export function time(value: string, name: string): Date {
  const decoded = new Date(text(value, name));
  if (Number.isNaN(decoded.getTime())) {
    throw new Unreadable(`${name} is not a time`);
  }
  return decoded;
}

/** An address that a browser may be sent to: http or https, never a script. */
export function webAddress(value: string): URL {
  const address = URL.canParse(value) ? new URL(value) : undefined;
  if (address?.protocol !== "https:" && address?.protocol !== "http:") {
    throw new Unreadable("the address is neither http nor https");
  }
  return address;
}
