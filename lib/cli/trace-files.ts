/** What the commands on traces share. */
import { readTrace } from '../trace/reader.ts';
import type { RecordedCall, Recording } from '../trace/recording.ts';

/** RangeError, which is wrong usage, for a file that cannot be read or has no such recording. */
export function pickRecording(file: string, number: number): Recording {
  let recordings: Recording[];
  try {
    recordings = readTrace(file);
  } catch (error) {
    if (error instanceof RangeError) throw error;
    throw new RangeError(error instanceof Error ? error.message : String(error), { cause: error });
  }
  const recording = recordings[number - 1];
  if (recording === undefined) {
    throw new RangeError(
      `${file} holds ${recordings.length} recording${recordings.length === 1 ? '' : 's'}, not ${number}`,
    );
  }
  return recording;
}

const MOST = 160;

/** A terminal must not be told what to do by a file. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f]/g;

/** Number and line of a call, for people. */
export function showTexts(call: RecordedCall): string {
  const text = call.text.replace(CONTROLS, '�');
  return `${String(call.n).padStart(4)}  ${text.length > MOST ? `${text.slice(0, MOST)}…` : text}`;
}
