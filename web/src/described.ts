/**
 * What the services say of their APIs, as types: made from their OpenAPI documents in `api/` by `npm run types`. When a
 * service changes what a page relies on, the page no longer compiles.
 */
import type { components, paths as commands } from "../generated/command-api";
import type { components as shown, paths as queries } from "../generated/query-api";
import { fill } from "./texts";

type Paths = commands & queries;

export type Path = keyof Paths;
export type Schemas = components["schemas"] & shown["schemas"];
export type License = Schemas["License"];

type At<P extends Path, M extends string> = M extends keyof Paths[P] ? Paths[P][M] : never;

/** The answer to a request that succeeded. */
export type Answer<P extends Path, M extends string = "get"> =
  At<P, M> extends { responses: infer R }
    ? { [S in keyof R & (200 | 201)]: R[S] extends { content: { "application/json": infer B } } ? B : never }[keyof R &
        (200 | 201)]
    : never;

export type Body<P extends Path, M extends string> =
  At<P, M> extends { requestBody: { content: { "application/json": infer B } } } ? B : never;

type Parameters<P extends Path, M extends string, In extends string> =
  At<P, M> extends { parameters: infer All } ? (In extends keyof All ? NonNullable<All[In]> : never) : never;

/** Names of what may stand in an address; a value is written as text, whatever its type is. */
type Values<T> = [T] extends [never] ? Record<string, never> : { readonly [K in keyof T]?: string };

/** An endpoint's address: `address("/api/sales/latest", "get", {}, { limit: "10" })`. */
export function address<P extends Path, M extends string>(
  path: P,
  _method: M,
  within: Values<Parameters<P, M, "path">>,
  query: Values<Parameters<P, M, "query">>,
): string {
  const encoded = Object.entries(within as Record<string, string>).map(([name, value]) => [name, encodeURIComponent(value)]);
  const asked = new URLSearchParams(query as Record<string, string>).toString();
  const place = fill(path, Object.fromEntries(encoded) as Record<string, string>);
  return asked === "" ? place : `${place}?${asked}`;
}
