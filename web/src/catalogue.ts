import catalogue from "../../shared/catalogue.json";
import type { License } from "./described";
import type { Money } from "./money";

/** What the shop sells, from the file that the services read too: the one place where prices stand. */
export const offers = catalogue as readonly { license: License; price: Money }[];

/** The order in which licences are listed; one that this build doesn't know yet comes last. */
export function catalogueOrder(a: string, b: string): number {
  return rank(a) - rank(b);
}

function rank(license: string): number {
  const index = offers.findIndex((offer) => offer.license === license);
  return index === -1 ? offers.length : index;
}
