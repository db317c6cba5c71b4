/** The simulated KVM against this host's: random requests, host accesses and guest programs. See files.test.ts. */
import { testSuite } from './test-suite.ts';

testSuite('kvm', 'KVM with default VMs is that of the real kernel', 4000);
testSuite('protected', 'KVM with software-protected VMs is that of the real kernel', 4000);
testSuite('cpu', 'a vCPU executes as on the real kernel', 2000);
testSuite('beside', 'vCPUs run beside the program as on the real kernel', 600, 0.1);
