import js from '@eslint/js';
import jsdoc from 'eslint-plugin-jsdoc';
import tseslint from 'typescript-eslint';

/** Who may import whom (the arrows point one way). Tests may also import the testkit and the reference. */
const ARROWS = {
  core: [],
  'native-kit': ['core'],
  'nvfp4-quant': ['core'],
  'sf-layout': ['core'],
  'moe-router': ['core'],
  sampler: ['core'],
  reference: ['core'],
  ops: ['core'],
  'gemm-native': ['core', 'native-kit', 'ops'],
  attention: ['core', 'native-kit', 'ops'],
  cuda: ['core', 'native-kit', 'ops'],
  checkpoint: ['core', 'nvfp4-quant'],
  chat: ['core'],
  hub: ['core'],
  layers: ['core', 'ops', 'checkpoint', 'nvfp4-quant'],
  model: [
    'core',
    'native-kit',
    'ops',
    'layers',
    'moe-router',
    'sampler',
    'gemm-native',
    'attention',
    'checkpoint',
    'chat',
  ],
  server: ['core', 'chat', 'checkpoint', 'model', 'sampler'],
  verify: ['core', 'ops', 'layers', 'checkpoint', 'reference'],
};

/** What tests of a package may import besides: whose backends the judge is tried on, and a tokenizer for prompts. */
const TEST_ARROWS = { verify: ['model'], chat: ['checkpoint'], cuda: ['attention', 'gemm-native'] };

const arrowRule = (allowed, extra = []) => ({
  'no-restricted-imports': [
    'error',
    {
      patterns: [
        {
          group: [
            '@megamoe/*',
            ...[...new Set([...allowed, ...extra])].map((name) => `!@megamoe/${name}`),
            '@megamoe/*/*',
            'megamoe',
          ],
          message: `This package may import: ${allowed.join(', ') || 'nothing'}. The arrows are listed in eslint.config.js.`,
        },
        { group: ['../../*/src/*', '../../../*/src/*'], message: 'Import packages by name.' },
      ],
    },
  ],
});

export default tseslint.config(
  {
    ignores: [
      '**/dist/',
      '**/build/',
      '**/node_modules/',
      '**/.tmp/',
      '.tools/',
      '.release/',
      'docs/api/',
      'tools/oracle/',
    ],
  },
  js.configs.recommended,
  ...tseslint.configs.strict,
  ...tseslint.configs.stylistic,
  {
    rules: {
      'max-lines': ['error', { max: 600 }],
      '@typescript-eslint/no-non-null-assertion': 'off', // noUncheckedIndexedAccess makes `a[i]!` the idiom in kernels
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/prefer-for-of': 'off',
      '@typescript-eslint/unified-signatures': 'off',
    },
  },
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: {
      globals: Object.fromEntries(
        [
          'process',
          'console',
          'URL',
          'Buffer',
          'performance',
          'fetch',
          'setTimeout',
          'setInterval',
          'clearInterval',
          'AbortController',
          'structuredClone',
        ].map((name) => [name, 'readonly']),
      ),
    },
  },
  {
    files: ['packages/*/src/**/*.ts', 'internal/*/src/**/*.ts'],
    plugins: { jsdoc },
    rules: {
      'jsdoc/require-jsdoc': [
        'error',
        {
          publicOnly: true,
          require: { ClassDeclaration: true, FunctionDeclaration: true, MethodDefinition: false },
          contexts: [
            'TSInterfaceDeclaration',
            'TSTypeAliasDeclaration',
            'ExportNamedDeclaration > VariableDeclaration',
            'TSEnumDeclaration',
          ],
        },
      ],
    },
  },
  ...Object.entries(ARROWS).flatMap(([name, allowed]) => [
    { files: [`packages/${name}/src/**/*.ts`], rules: arrowRule(allowed) },
    {
      files: [`packages/${name}/test/**/*.ts`, `packages/${name}/bench/**/*.ts`],
      rules: arrowRule(allowed, [...new Set([name, 'testkit', 'reference', ...(TEST_ARROWS[name] ?? [])])]),
    },
  ]),
);
