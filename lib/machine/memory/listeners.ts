/** Listeners by event, which may refuse: what one throws reaches whoever tells. */

export class Listeners<Events extends object> {
  readonly #lists = new Map<keyof Events, Set<(event: never) => void>>();

  add<E extends keyof Events>(event: E, listener: (event: Events[E]) => void): () => void {
    const list = this.#lists.get(event) ?? new Set();
    this.#lists.set(event, list);
    // A function of its own, so that one listener can be added twice.
    const entry = (told: Events[E]): void => listener(told);
    list.add(entry);
    return () => {
      list.delete(entry);
    };
  }

  has(event: keyof Events): boolean {
    return (this.#lists.get(event)?.size ?? 0) > 0;
  }

  tell<E extends keyof Events>(event: E, told: Events[E]): void {
    for (const listener of [...(this.#lists.get(event) ?? [])]) (listener as (event: Events[E]) => void)(told);
  }
}
