export { SevVm as TdxVm } from '../sev/sev-vm.ts';
