// Makes martlet.d.ts, the types of martlet.js for TypeScript, from its JSDoc with Debian's tsc.
//
//   node Tests/Web/types/declare.mjs            writes it
//   node Tests/Web/types/declare.mjs --check    fails if it is not what it should be
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

const file = fileURLToPath(new URL('../../../Sources/ChatGateway/Web/martlet.d.ts', import.meta.url));
const project = fileURLToPath(new URL('declarations.json', import.meta.url));
const folder = mkdtempSync(`${tmpdir()}/declare-`);
try {
    execFileSync('tsc', ['--project', project, '--outDir', folder], { stdio: 'inherit' });
    const made = `// The types of martlet.js. Made from its comments by Tests/Web/types/declare.mjs: change those.\n${
        withoutInternals(readFileSync(`${folder}/martlet.d.ts`, 'utf8'))}`;
    if (!process.argv.includes('--check')) {
        writeFileSync(file, made);
    } else if (readFileSync(file, 'utf8') !== made) {
        console.error('martlet.d.ts is not up to date: node Tests/Web/types/declare.mjs');
        process.exitCode = 1;
    }
} finally {
    rmSync(folder, { recursive: true });
}

/** tsc leaves out what is marked @internal in TypeScript, but not what is in JavaScript: so this does. */
function withoutInternals(text) {
    const kept = [];
    let comment = [];
    /** The indentation of the declaration that is being left out. */
    let dropped = null;
    for (const line of text.split('\n')) {
        const indent = /^ */.exec(line)[0].length;
        if (dropped !== null) {
            // It ends with a semicolon, or with the line of its closing brace.
            if (indent === dropped && line.endsWith(';')) dropped = null;
        } else if (comment.length > 0 || line.trimStart().startsWith('/**')) {
            comment.push(line);
            if (!line.endsWith('*/')) continue;
            if (comment.some((one) => one.includes('@internal'))) dropped = indent - (comment.length > 1 ? 1 : 0);
            else kept.push(...comment);
            comment = [];
        } else {
            kept.push(line);
        }
    }
    return kept.join('\n');
}
