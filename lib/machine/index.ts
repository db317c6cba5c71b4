/** `privmem/machine`: what a VMM is made of, on any kernel. */
export * from './memory/index.ts';
