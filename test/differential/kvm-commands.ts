/** The commands of a differential run of KVM: plain data, so that a sequence can be cut down and printed. Places are in pages. */

/** Which VM, vCPU or file: an index into what the world holds. */
type Index = number;
/** What a descriptor is taken from. */
export type FdOf = 'kvm' | 'vm' | 'vcpu' | 'gmem' | 'memfd' | 'closed';

/** Where an answer goes: a buffer, memory that cannot be reached, or what ends in it after eight bytes. */
export type Target = 'buffer' | 'guard' | 'edge';

export type FileCall =
  | 'read'
  | 'write'
  | 'pread'
  | 'pwrite'
  | 'lseek'
  | 'ftruncate'
  | 'fallocate'
  | 'flags'
  | 'seals'
  | 'addSeals'
  | 'cachestat'
  | 'stat'
  | 'mmap';

export type KvmCommand =
  | {
      readonly do: 'region';
      readonly vm: Index;
      readonly v2: boolean;
      readonly slot: number;
      readonly flags: number;
      readonly gpa: bigint;
      readonly size: bigint;
      /** Bytes from the start of the backing memory, or absolute when negative numbers would not do. */
      readonly hva: bigint;
      readonly absolute: boolean;
      readonly file: Index | 'memfd' | 'closed' | 'vm' | -1;
      readonly offset: bigint;
    }
  | { readonly do: 'gmem'; readonly vm: Index; readonly file: Index; readonly size: bigint; readonly flags: bigint }
  | { readonly do: 'closeFile'; readonly file: Index }
  | { readonly do: 'dupFile'; readonly file: Index; readonly to: Index }
  | {
      readonly do: 'fallocate';
      readonly file: Index;
      readonly punch: boolean;
      readonly offset: bigint;
      readonly length: bigint;
    }
  | {
      readonly do: 'attributes';
      readonly vm: Index;
      readonly address: bigint;
      readonly size: bigint;
      readonly attributes: bigint;
      readonly flags: bigint;
    }
  /** On the vCPU; what is left of the range is told. */
  | { readonly do: 'preFault'; readonly gpa: bigint; readonly size: bigint; readonly flags: bigint }
  | { readonly do: 'ioctl'; readonly on: FdOf; readonly index: Index; readonly request: number; readonly arg: bigint }
  /** A request whose number encodes a size, with a buffer of zeros. */
  | { readonly do: 'struct'; readonly on: FdOf; readonly index: Index; readonly request: number }
  /** The same with an address that may lead nowhere: bytes from the start of the backing memory. */
  | { readonly do: 'address'; readonly on: FdOf; readonly index: Index; readonly request: number; readonly at: number }
  /** A system call on a descriptor that it may not be for. */
  | { readonly do: 'call'; readonly on: FdOf; readonly index: Index; readonly call: FileCall; readonly value: number }
  /** KVM_GET_SUPPORTED_CPUID or KVM_GET_MSR_INDEX_LIST with room for so many; what is listed is the processor's own. */
  | {
      readonly do: 'list';
      readonly on: FdOf;
      readonly index: Index;
      readonly of: 'cpuid' | 'msrs';
      readonly room: number;
      readonly to: Target;
    }
  /** KVM_GET_DEVICE_ATTR and the like; the value is the processor's own. */
  | {
      readonly do: 'deviceAttr';
      readonly on: FdOf;
      readonly index: Index;
      readonly call: 'has' | 'get' | 'set';
      readonly group: number;
      readonly attr: bigint;
      readonly to: Target;
    }
  | { readonly do: 'enableCap'; readonly vm: Index; readonly cap: number; readonly flags: number; readonly arg: bigint }
  | { readonly do: 'createVcpu'; readonly vm: Index; readonly id: bigint }
  | { readonly do: 'closeVm'; readonly vm: Index }
  | { readonly do: 'dirtyLog'; readonly vm: Index; readonly slot: number }
  | {
      readonly do: 'clearLog';
      readonly vm: Index;
      readonly slot: number;
      readonly first: bigint;
      readonly pages: number;
      /** One bit for each page. */
      readonly bits: bigint;
    }
  | { readonly do: 'mpState'; readonly state: number }
  | { readonly do: 'hostFill'; readonly page: number; readonly pages: number; readonly byte: number }
  | { readonly do: 'hostProtect'; readonly page: number; readonly pages: number; readonly prot: number }
  | { readonly do: 'hostUnmap'; readonly page: number; readonly pages: number }
  | { readonly do: 'hostMap'; readonly page: number; readonly pages: number; readonly file: Index | 'memfd' | -1 }
  | { readonly do: 'hostDrop'; readonly page: number; readonly pages: number }
  /** A small program: one access, then a halt. `answer` goes to what the guest asks the host for. */
  | {
      readonly do: 'guest';
      readonly access: 'read' | 'write' | 'add' | 'in' | 'out' | 'hypercall' | 'undefined';
      readonly gpa: number;
      readonly size: 1 | 2 | 4;
      readonly value: number;
      readonly answer: number;
      /** immediate_exit before the answer is used up. */
      readonly pause: boolean;
      /** Conversions that the guest asks for by hypercall are carried out. */
      readonly serve: boolean;
    };

export type RegionCommand = KvmCommand & { readonly do: 'region' };
