/** Where guest programs (lib/guest) report: the window that no memory backs. */
import { type GuestEvent, REPORT_GPA, REPORT_WINDOW_SIZE, ReportCollector } from '../../guest/index.ts';
import type { Device } from '../words.ts';

export const REPORT = { address: REPORT_GPA, size: REPORT_WINDOW_SIZE } as const;

/** Gives each report and check as it is complete. One for each vCPU that reports: parts of two would be mixed up. */
export function reportDevice(take: (event: GuestEvent) => void, gpa: number = REPORT_GPA): Device {
  const collector = new ReportCollector(gpa);
  return {
    name: 'report',
    writeBytes: (offset, data) => {
      const event = collector.accept({ gpa: gpa + offset, length: data.length, isWrite: true, data });
      if (event !== undefined && event !== 'pending') take(event);
    },
  };
}
