/** Tasks of the event loop, on any platform: timers, messages and signals are served between two of them. */

type Schedule = (task: () => void) => unknown;

/** Tasks that wait for a message to come around: setTimeout would add milliseconds where there is no setImmediate. */
function byMessages(): Schedule {
  const { port1, port2 } = new MessageChannel();
  const tasks: (() => void)[] = [];
  // By name: platforms disagree on the port's type, not on this property, which also starts the port.
  Reflect.set(port1, 'onmessage', () => tasks.shift()?.());
  return (task) => {
    tasks.push(task);
    port2.postMessage(undefined);
  };
}

function choose(): Schedule {
  const immediate: unknown = Reflect.get(globalThis, 'setImmediate');
  if (typeof immediate === 'function') return (task) => Reflect.apply(immediate, globalThis, [task]);
  return typeof MessageChannel === 'function' ? byMessages() : (task) => setTimeout(task, 0);
}

let schedule: Schedule | undefined;

export function macrotask(task: () => void): void {
  schedule ??= choose();
  schedule(task);
}
