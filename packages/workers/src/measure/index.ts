/**
 * What compression costs on a guest's own memory: reading it (`openMemorySource`, `surveyMemory`), measuring
 * (`measureSettings`, `measureTransport`, `measureMachine`). What it means for a migration is `@pageferry/core/forecast`.
 */
export { libraryVersions, type MachineCosts, measureMachine } from './machine.ts';
export { type Measurement, type MeasureOptions, measureSettings } from './measure.ts';
export { generateSource, type MemorySource, type SourceBlock, sourceOfBlocks } from './memory-source.ts';
export { openMemorySource, type SourceKind } from './open-source.ts';
export type { Sample } from './sample.ts';
export {
  listSettings,
  MEASURED_CODECS,
  type MeasuredCodec,
  type Selection,
  type Setting,
} from './settings.ts';
export { type Survey, type SurveyOptions, type SurveyRegion, surveyMemory } from './survey.ts';
export { measureTransport, type TransportCosts } from './transport.ts';
