// <lynkhook-webhooks link="/your/url">: a POST there answers {"url": "…"}, a portal link for this page's origin.
customElements.define("lynkhook-webhooks", class extends HTMLElement {
  connectedCallback() {
    const again = document.createElement("button");
    again.textContent = "Try again";
    again.onclick = () => (this.heard ? this.renew() : this.open());
    this.note = document.createElement("p");
    this.note.append("The webhooks could not be opened. ", again);
    this.hear = ({ source, origin, data }) => {
      const { frame } = this;
      if (source !== frame?.contentWindow || origin !== this.origin) return;
      this.heard = true;
      if (data.height) frame.style.height = `${data.height}px`;
      // The browser may refuse the cookie.
      else if (data.lynkhook === "expired" && !(Date.now() - this.renewed < 1e4)) this.renew();
      else this.fail();
    };
    addEventListener("message", this.hear);
    this.open();
  }

  disconnectedCallback() {
    removeEventListener("message", this.hear);
  }

  async link(use) {
    try {
      const answer = await fetch(this.getAttribute("link"), { method: "POST" });
      const { href, origin } = new URL((await answer.json()).url);
      this.origin = origin;
      this.note.remove();
      use(href);
    } catch {
      this.fail();
    }
  }

  open() {
    this.heard = false;
    this.link((src) => {
      const frame = (this.frame = document.createElement("iframe"));
      frame.title = "Webhooks";
      frame.allow = "clipboard-write";
      frame.style = "display: block; width: 100%; height: 30rem; border: 0";
      frame.src = src;
      this.replaceChildren(frame);
      setTimeout(() => this.heard || this.fail(), 1e4);
    });
  }

  renew() {
    this.renewed = Date.now();
    this.link((url) => this.frame.contentWindow.postMessage({ lynkhook: "link", url }, this.origin));
  }

  // The frame stays: something may be typed in it.
  fail() {
    if (!this.heard) console.warn("Wrong embedOrigin?");
    this.prepend(this.note);
  }
});
