import type { VmBody, VmField } from '../wire/vmdesc.ts';
import type { FieldReport, SubsectionReport } from './report.ts';

/** A device's fields as the vmdescription describes them. */
export function reportFields(body: VmBody): Pick<SubsectionReport, 'fields' | 'subsections'> {
  return {
    fields: body.fields.map(reportField),
    ...(body.subsections.length > 0 && { subsections: body.subsections.map(reportSubsection) }),
  };
}

function reportField(field: VmField): FieldReport {
  const { name, type, sizeBytes, arrayLength, index, struct } = field;
  return {
    name,
    type,
    sizeBytes,
    ...(arrayLength !== undefined && { arrayLength }),
    ...(index !== undefined && { index }),
    ...(struct !== undefined && reportFields(struct)),
  };
}

function reportSubsection(body: VmBody): SubsectionReport {
  return { name: body.vmsdName, version: body.version, ...reportFields(body) };
}
