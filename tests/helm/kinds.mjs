// Validates objects as those have them who define their kinds: kinds.mjs FOLDER PACKAGE, a JSON list on standard input. FOLDER
// holds the package of schemas, PACKAGE is the part of it for one version of one group. Prints what is wrong: fields of a wrong
// type or form, and missing ones.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const of = `node_modules/@kubernetes-models/${process.argv[3]}/index.js`
const kinds = await import(pathToFileURL(resolve(process.argv[2], of)).href)
const problems = []
for (const object of JSON.parse(readFileSync(0, 'utf8'))) {
    const Kind = kinds[object.kind]
    if (Kind === undefined || object.apiVersion !== Kind.apiVersion) {
        problems.push(`there is no ${object.apiVersion} ${object.kind}`)
        continue
    }
    try {
        new Kind(object).validate()
    } catch (error) {
        problems.push(`${object.kind}: ${error.message}`)
    }
}
console.log(JSON.stringify(problems))
