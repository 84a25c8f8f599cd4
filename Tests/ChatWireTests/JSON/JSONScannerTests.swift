import ChatCore
import ChatJSON
import Testing

struct JSONScannerTests {
    /// Why the text is no JSON: for the tree and for the scanner the same.
    private func problem(_ text: String) -> JSONError? {
        let scanned: JSONError? = Array(text.utf8).withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            do throws(JSONError) {
                _ = try scanner.document()
                return nil
            } catch {
                return error
            }
        }
        do throws(JSONError) {
            _ = try JSONValue(parsing: text)
            #expect(scanned == nil)
            return nil
        } catch {
            #expect(scanned == error)
            return error
        }
    }

    @Test(arguments: [
        "0", "-0", "1.5", "1e9", "-12.25E-3", "\"\"", "\"a\\u00e9\\n\"", "[]", "{}", "[1,[2,{\"a\":null}]]", " true ",
        "false",
        "\"\\ud83d\\ude00\"", "12345678901234567890123456789",
    ])
    func readsWhatTheGrammarAllows(text: String) {
        #expect(problem(text) == nil)
    }

    @Test(arguments: [
        ("", 0), ("  ", 2), ("01", 1), ("-", 1), ("1.", 2), ("1e", 2), (".5", 0), ("+1", 0), ("nul", 3), ("NaN", 0),
        ("\"", 1), ("\"\\x\"", 2), ("\"\\u12\"", 5), ("\"\u{1}\"", 1), ("[1,]", 3), ("[1 2]", 3), ("{\"a\"}", 4),
        ("{\"a\":1,}", 7), ("{a:1}", 1), ("{} {}", 3), ("\"\\ud800\"", 1), ("\"\\udc00\"", 1),
        ("\"\\ud800\\u0041\"", 1),
        ("[", 1), ("{", 1), ("'a'", 0), ("\u{FEFF}1", 0),
    ])
    func refusesTheRestAndNamesTheByte(text: String, offset: Int) {
        #expect(problem(text)?.offset == offset, "\(String(describing: problem(text)))")
    }

    @Test func nestingIsLimited() {
        let fine = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
        #expect(problem(fine) == nil)
        let deep = String(repeating: "[", count: 65) + String(repeating: "]", count: 65)
        #expect(problem(deep) == JSONError(offset: 64, problem: "nested deeper than 64 levels"))
        let bomb = String(repeating: "{\"a\":", count: 1_000_000)
        #expect(problem(bomb)?.offset == 320)
    }

    @Test func brokenUTF8IsRefusedAtItsByte() {
        for (bytes, offset) in [
            ([0x22, 0xFF, 0x22], 1), ([0x22, 0xC0, 0x80, 0x22], 1), ([0x22, 0xED, 0xA0, 0x80, 0x22], 2),
            ([0x22, 0xE2, 0x82], 3),
            ([0x22, 0xF4, 0x90, 0x80, 0x80, 0x22], 2),
        ] as [([UInt8], Int)] {
            #expect(throws: JSONError.self) { _ = try JSONValue(parsing: bytes) }
            guard case .failure(let error) = bytes.withUnsafeBytes({ JSONValue.parse($0) }) else { continue }
            #expect(error.offset == offset)
        }
    }

    @Test func valuesComeBackWhole() throws {
        let value = try JSONValue(
            parsing:
                #"{"n":1.50,"big":123456789012345678901234567890,"s":"\ud83d\ude00\/\"","a":[true,null],"n":2,"":{}}"#)
        #expect(value["n"]?.integer == 2, "of members with the same name the last one counts")
        #expect(value["big"] == .number("123456789012345678901234567890"))
        #expect(value["s"]?.string == "😀/\"")
        #expect(value["a"]?.array == [.bool(true), .null])
        #expect(value[""]?.object == [:])
        #expect(value["none"] == nil)
        #expect(try JSONValue(parsing: value.text) == value)
    }

    private func json(_ write: (inout ByteWriter) -> Void) -> [UInt8] {
        // The smallest capacity, so that it has to grow.
        var bytes = ByteWriter(capacity: 0)
        write(&bytes)
        return bytes.array
    }

    @Test func stringsAreEscapedAsNeededAndNoMore() throws {
        let text = "a\"b\\c\n\r\t\u{0}\u{1F}/é😀\u{2028}\u{7F}"
        let bytes = json { $0.appendJSON(text) }
        #expect(String(decoding: bytes, as: UTF8.self) == "\"a\\\"b\\\\c\\n\\r\\t\\u0000\\u001f/é😀\u{2028}\u{7F}\"")
        #expect(try JSONValue(parsing: bytes) == .string(text))
    }

    @Test func numbersAreWrittenInDecimal() {
        for number in [0, 7, 10, 99, 100, 1_234_567, Int.max, Int.min, -1] {
            #expect(String(decoding: json { $0.appendJSON(number) }, as: UTF8.self) == "\(number)")
        }
        for number in [UInt64.max, 9_999_999_999_999_999_999, 10_000_000_000_000_000_000] {
            #expect(String(decoding: json { $0.appendJSON(number) }, as: UTF8.self) == "\(number)")
        }
    }

    /// Strings are read and written eight bytes at a time: every kind of character that must be escaped, at every
    /// place.
    @Test(arguments: ["\"", "\\", "\u{0}", "\u{1F}", "\u{7F}", "é", "!", "\u{20}", "€", "😀", "]", "#"])
    func everyCharacterIsWrittenAndReadAtEveryPlace(character: String) throws {
        for before in 0...17 {
            for behind in [0, 1, 6, 7, 8, 9, 16] {
                for twice in [false, true] {
                    let text =
                        String(repeating: "a", count: before) + character + (twice ? character : "")
                        + String(repeating: "z", count: behind)
                    let bytes = json { $0.appendJSON(text) }
                    #expect(try JSONValue(parsing: bytes) == .string(text), "\(before), \(behind)")
                    #expect(try JSONValue(parsing: Array("[".utf8) + bytes + Array(",1]".utf8)).array?.count == 2)
                    let isPlain = character.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C }
                    #expect(!isPlain || bytes.count == text.utf8.count + 2)
                    // Without its end it is not a string, wherever it is cut.
                    #expect(throws: JSONError.self) { try JSONValue(parsing: Array(bytes.dropLast())) }
                }
            }
        }
    }

    @Test(arguments: 0...17) func aControlCharacterIsRefusedAtEveryPlace(before: Int) {
        for byte in [UInt8(0), 0x0A, 0x1F] {
            let bytes =
                [0x22] + [UInt8](repeating: 0x61, count: before) + [byte] + [UInt8](repeating: 0x7A, count: 9) + [0x22]
            #expect(
                throws: JSONError(
                    offset: before + 1, problem: "a control character in a string, which must be written as \\u escape")
            ) {
                try JSONValue(parsing: bytes)
            }
        }
    }

    /// Random bytes, and valid text with one changed byte: the result is a value or an error with a valid offset, never
    /// a trap.
    @Test func anyBytesAreAnsweredWithoutATrap() {
        var generator = SplitMix64(seed: 20_261_121)
        let valid = Array(
            #"{"type":"send","room":"é","data":[1,-2.5e3,{"x":"\u00e9\ud83d\ude00"}],"t":true,"n":null}"#.utf8)
        for round in 0..<20_000 {
            var bytes = valid
            if round % 2 == 0 {
                let alphabet = Array("{}[]\",:\\u0d8eE+-.tfn \u{80}".utf8)
                bytes = (0..<Int(generator.next() % 24)).map { _ in
                    alphabet[Int(generator.next() % UInt64(alphabet.count))]
                }
            } else {
                bytes[Int(generator.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            switch bytes.withUnsafeBytes({ JSONValue.parse($0) }) {
            case .success(let value): #expect((try? JSONValue(parsing: value.text)) == value)
            case .failure(let error): #expect((0...bytes.count).contains(error.offset))
            }
        }
    }
}
