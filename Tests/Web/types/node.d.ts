// The little of Node that martlet.js uses, so that its types can be checked without any package.
declare module 'node:net' {
    export function connect(options: object): any;
}
declare module 'node:tls' {
    export function connect(options: object): any;
}
declare module 'node:crypto' {
    export function randomBytes(count: number): any;
    export function createHash(name: string): any;
}
declare const Buffer: any;
