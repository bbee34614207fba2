/** The client for both services' APIs. Its types are generated from the OpenAPI documents in `api/` by `npm run types`. */
import createClient from "openapi-fetch";
import type { components as CommandComponents, paths as CommandPaths } from "../generated/command-api";
import type { components as QueryComponents, paths as QueryPaths } from "../generated/query-api";
import { Unreadable } from "./decode";

export interface Paths extends CommandPaths, QueryPaths {}
export type Path = keyof Paths;
export type Schemas = CommandComponents["schemas"] & QueryComponents["schemas"];
export type License = Schemas["License"];

/** The timeout of every request except the stream, which only has to start within it. */
export const REQUEST_TIMEOUT_MS = 10_000;

/** Why a request failed, as far as the reader would act differently. */
export type Failure =
  /** No response: the network is down, or the connection broke. */
  | { kind: "unreachable" }
  | { kind: "timeout" }
  /** The service, or the proxy in front of it, is overloaded or down. */
  | { kind: "unavailable"; retryAfterSeconds?: number }
  /** There is no valid session. */
  | { kind: "unauthenticated" }
  /** The session lacks the role. */
  | { kind: "forbidden" }
  | { kind: "missing" }
  /** The service understood the request and rejected it. */
  | { kind: "refused"; reason: string; problem?: string }
  /** The response cannot be decoded. */
  | { kind: "broken" };

export type Outcome<T> = { ok: true; value: T } | { ok: false; failure: Failure };

export const client = createClient<Paths, "application/json">({
  baseUrl: location.origin,
  // Looked up at each call: tests replace it.
  fetch: (request) => fetch(request),
});

/** Sends a request and decodes its response; every failure is a value. */
export async function ask<B, T>(
  request: (signal: AbortSignal) => Promise<{ data?: B; error?: unknown; response: Response }>,
  decode: (body: B) => T,
  signal?: AbortSignal,
): Promise<Outcome<T>> {
  const timeout = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  try {
    const { data, error, response } = await request(signal ? AbortSignal.any([signal, timeout]) : timeout);
    if (response.ok) {
      // An empty body is undefined here, which no decoder accepts.
      return { ok: true, value: decode(data as B) };
    }
    return { ok: false, failure: failureFrom(response, error) };
  } catch (error) {
    return { ok: false, failure: failureFromError(error) };
  }
}

export function failureFrom(response: Response, body: unknown): Failure {
  if ([429, 502, 503, 504].includes(response.status)) {
    const retryAfterSeconds = seconds(response, "Retry-After");
    return { kind: "unavailable", ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
  }
  if (response.status === 401) {
    return { kind: "unauthenticated" };
  }
  if (response.status === 403) {
    return { kind: "forbidden" };
  }
  if (response.status === 404) {
    // A proxy that has just started does not know the services yet.
    return { kind: isProblem(response) ? "missing" : "unavailable" };
  }
  if (response.status >= 400 && response.status < 500) {
    return { kind: "refused", ...reasonFrom(response, body) };
  }
  return { kind: "broken" };
}

export function failureFromError(error: unknown): Failure {
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return { kind: "timeout" };
  }
  // From JSON.parse and the decoders; `fetch` throws a TypeError when there is no response.
  if (error instanceof SyntaxError || error instanceof Unreadable) {
    return { kind: "broken" };
  }
  return { kind: "unreachable" };
}

/** The detail, else the title, of a problem document (RFC 9457), and its type; the status line of any other response. */
function reasonFrom(response: Response, body: unknown): { reason: string; problem?: string } {
  const statusLine = `${response.status} ${response.statusText}`.trim();
  if (!isProblem(response)) {
    return { reason: statusLine };
  }
  const { detail, title, type } = Object(body) as Partial<Record<keyof Schemas["Problem"], unknown>>;
  const reason = [detail, title].find((text) => typeof text === "string") ?? statusLine;
  return { reason, ...(typeof type === "string" && { problem: type }) };
}

function isProblem(response: Response): boolean {
  return response.headers.get("Content-Type")?.startsWith("application/problem+json") === true;
}

/** A header in seconds. The date form of `Retry-After` is ignored: the services never send it. */
function seconds(response: Response, header: string): number | undefined {
  const value = response.headers.get(header);
  return value !== null && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}
