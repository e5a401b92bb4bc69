import { readmeTests } from '@megamoe/testkit';

readmeTests(import.meta.url);
