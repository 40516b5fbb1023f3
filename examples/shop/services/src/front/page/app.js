// The shop's page. It knows nothing of tokens: the server behind it keeps them, and the browser has a cookie that no script sees.
"use strict";

const at = (id) => document.getElementById(id);

// One call to the shop. What changes something has a header that pages of others can't send.
async function ask(path, content, more = {}) {
  const answer = await fetch(path, {
    method: content === undefined ? "GET" : "POST",
    headers: content === undefined ? {} : { "x-shop": "1", "content-type": "application/json", ...more },
    body: content === undefined ? undefined : JSON.stringify(content),
  });
  tell(answer.headers);
  const told = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.status === 401) {
    greet({ signedIn: false });
  }
  if (!answer.ok) {
    throw new Error(told?.error ?? `The shop answered ${answer.status}.`);
  }
  return told;
}

function row(cells, kind = "td") {
  const line = document.createElement("tr");
  for (const content of cells) {
    const cell = document.createElement(kind);
    cell.append(content);
    if (typeof content === "string" && /^[\d.]+$/.test(content)) {
      cell.className = "number";
    }
    line.append(cell);
  }
  return line;
}

const price = (cents) => (cents / 100).toFixed(2);

// A SPIFFE ID as people say it; anything else as it is.
const name = (text) => text.replace(/^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/, "$1/$2");

// Which calls an answer took: the services tell it in a header, as JSON.
function tell(headers) {
  const header = headers.get("x-hops");
  if (!header) {
    return;
  }
  const octets = Uint8Array.from(header, (letter) => letter.charCodeAt(0));
  const hops = JSON.parse(new TextDecoder().decode(octets));
  if (hops.length < 2) {
    return;
  }
  at("hops").replaceChildren(
    row(["caller", "service", "proved by", "let in by policy"], "th"),
    ...hops.map((hop) => row([name(hop.caller), name(hop.service), hop.by, hop.policy])),
  );
  at("correlation").textContent = headers.get("x-correlation-id");
  at("story").hidden = false;
}

function greet(session) {
  at("nobody").hidden = session.signedIn;
  at("somebody").hidden = !session.signedIn;
  at("shop").hidden = !session.signedIn;
  at("name").textContent = session.name ?? "customer";
  at("message").textContent = session.signedIn ? "" : "Sign in to see what there is.";
}

function say(error) {
  at("message").textContent = error.message;
}

function button(item) {
  const order = document.createElement("button");
  order.type = "button";
  order.textContent = "Order one";
  // Sent again under the same name it is the same order.
  const key = crypto.randomUUID();
  order.addEventListener("click", async () => {
    order.disabled = true;
    try {
      const placed = await ask("/api/orders", { items: [{ sku: item.sku, quantity: 1 }] }, { "idempotency-key": key });
      at("order").textContent = `Ordered: ${item.name}, ${price(placed.cents)}. Your order is ${placed.id}.`;
      at("message").textContent = "";
    } catch (error) {
      order.disabled = false;
      say(error);
    }
  });
  return order;
}

async function search() {
  const found = await ask(`/api/items?${new URLSearchParams({ search: at("text").value })}`);
  const rows = found.map((item) => row([item.name, price(item.cents), String(item.in_stock), button(item)]));
  at("items").replaceChildren(row(["", "price", "in stock", ""], "th"), ...rows);
  at("message").textContent = found.length ? "" : "There is no such thing.";
}

at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search().catch(say);
});

at("sign-out").addEventListener("click", async () => {
  try {
    await ask("/logout", {});
    location.reload();
  } catch (error) {
    say(error);
  }
});

ask("/session").then(greet).catch(say);
