import { buyLicense, type Failure, type License } from "./api";
import { offers } from "./catalogue";
import { clearKey, keyFor, pendingKey } from "./idempotency-keys";
import { explain, licenseName, money, onLanguageChange, part, t, translate, write } from "./page";
import { focusReceipt, listen, loadMissing, type OpenReceipt, opened, purchaseIn, receiptAddress, updateReceipt, verifyReceipt } from "./receipt";

/** `interrupted`: the page was closed or reloaded before the response arrived. */
type OfferFailure = Failure | { kind: "interrupted" };

type Offer = { step: "offered" } | { step: "buying" } | { step: "failed"; failure: OfferFailure };

interface State {
  offers: Map<License, Offer>;
  /** The receipt named by the address. */
  opened: OpenReceipt | undefined;
}

const state: State = {
  offers: new Map(
    offers.map(({ license }) => [
      license,
      pendingKey(license) === undefined ? { step: "offered" } : { step: "failed", failure: { kind: "interrupted" } },
    ]),
  ),
  opened: undefined,
};

const progress = part(document, "progress", HTMLElement);
const shop = part(document, "shop", HTMLElement);
const shopHeading = part(document, "shop-heading", HTMLElement);
const cards = new Map(offers.map(({ license }) => [license, addCard(license)]));

onFirstClick(part(document, "more", HTMLButtonElement), () => {
  history.pushState(null, "", "/");
  showAddress();
  shopHeading.focus();
});
listen({
  retry() {
    if (state.opened !== undefined) {
      void loadMissing(state.opened, changed);
    }
  },
  verify() {
    if (state.opened !== undefined) {
      void verifyReceipt(state.opened, changed);
    }
  },
  copied(how) {
    if (state.opened !== undefined) {
      state.opened.copied = how;
    }
    changed();
  },
});
onLanguageChange(changed);
addEventListener("popstate", showAddress);
showAddress();

/** Shows the shop or the receipt, depending on the address. */
function showAddress(): void {
  const purchaseId = purchaseIn(location);
  if (purchaseId === undefined) {
    state.opened = undefined;
  } else if (state.opened?.purchaseId !== purchaseId) {
    state.opened = opened(purchaseId);
    void loadMissing(state.opened, changed);
  }
  changed();
}

async function buy(license: License): Promise<void> {
  state.offers.set(license, { step: "buying" });
  update(state);

  const outcome = await buyLicense(license, keyFor(license));
  if (outcome.ok) {
    clearKey(license);
    state.offers.set(license, { step: "offered" });
    state.opened = opened(outcome.value.purchaseId, outcome.value);
    history.pushState(null, "", receiptAddress(outcome.value.purchaseId));
    void loadMissing(state.opened, changed);
    focusReceipt();
  } else {
    state.offers.set(license, { step: "failed", failure: outcome.failure });
    update(state);
    cards.get(license)?.button.focus();
  }
}

function changed(): void {
  update(state);
}

/** Renders the whole page from the state. */
function update({ offers, opened }: State): void {
  const buying = [...offers.values()].some((offer) => offer.step === "buying");
  write(progress, buying ? t("shop.buying") : "");
  shop.hidden = opened !== undefined;
  document.title = t(opened === undefined ? "shop.title" : "receipt.heading");
  for (const [license, offer] of offers) {
    const card = cards.get(license);
    if (card !== undefined) {
      updateCard(card, license, offer, buying);
    }
  }
  updateReceipt(opened);
}

interface Card {
  name: HTMLElement;
  audience: HTMLElement;
  price: HTMLElement;
  features: HTMLElement;
  button: HTMLButtonElement;
  alert: HTMLElement;
  failure: HTMLElement;
}

function updateCard(card: Card, license: License, offer: Offer, disabled: boolean): void {
  const price = offers.find((offered) => offered.license === license)?.price;
  write(card.name, licenseName(license));
  write(card.audience, t(`license.${license}.audience`));
  write(card.price, price ? money(price) : "");
  updateFeatures(card.features, t(`license.${license}.features`).split("\n"));
  card.button.disabled = disabled;
  card.button.classList.toggle("busy", offer.step === "buying");
  card.alert.hidden = offer.step !== "failed";
  switch (offer.step) {
    case "offered":
      write(card.button, t("shop.buy", { license: licenseName(license) }));
      break;
    case "buying":
      write(card.button, t("shop.buying"));
      break;
    case "failed":
      write(card.button, t("shop.again"));
      write(card.failure, offer.failure.kind === "interrupted" ? t("failure.interrupted") : explain(offer.failure));
      break;
  }
}

function updateFeatures(list: HTMLElement, features: readonly string[]): void {
  while (list.childElementCount < features.length) {
    list.append(document.createElement("li"));
  }
  features.forEach((what, index) => {
    write(list.children[index] as HTMLElement, what);
  });
}

function addCard(license: License): Card {
  const card = part(document, "offer", HTMLTemplateElement).content.cloneNode(true) as DocumentFragment;
  translate(card);
  const button = part(card, "buy", HTMLButtonElement);
  onFirstClick(button, () => void buy(license));
  const parts = {
    name: part(card, "name", HTMLElement),
    audience: part(card, "audience", HTMLElement),
    price: part(card, "price", HTMLElement),
    features: part(card, "features", HTMLElement),
    button,
    alert: part(card, "alert", HTMLElement),
    failure: part(card, "failure", HTMLElement),
  };
  part(document, "offers", HTMLElement).append(card);
  return parts;
}

/**
 * Ignores the second click of a double click. The purchase may be complete by then, and the click must not start
 * another one on the button that took its place.
 */
function onFirstClick(button: HTMLButtonElement, act: () => void): void {
  button.addEventListener("click", (event) => {
    if (event.detail <= 1) {
      act();
    }
  });
}
