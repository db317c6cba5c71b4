/** `privmem/conformance`: scenarios of your own, and the suite as a library. Needs no test runner. */
export { compareReports, type Difference, parseReport } from './compare.ts';
export type { Context } from './context.ts';
export { describeExit, Guest, type GuestRun, halted } from './guest.ts';
export { Environment, missing, type Needs, VM_TYPES, type VmType } from './needs.ts';
export { type ConformanceReport, reportOf } from './report.ts';
export { Runner, type ScenarioOutcome, type ScenarioResult } from './run.ts';
export { type Scenario, type Topic, topic } from './scenario.ts';
export { SCENARIOS, selectScenarios } from './scenarios/index.ts';
export { type SuiteRun, type SuperviseOptions, supervise } from './supervise.ts';
