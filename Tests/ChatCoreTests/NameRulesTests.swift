import Testing

@testable import ChatCore

/// Names must consist of visible characters.
@Suite struct NameRulesTests {
    @Test(arguments: [
        "ana", "Ana Maria", "o'neil", "보라", "ᄒᆞᆫ", "ㄱㄴ", "李小龍", "さくら", "Ζωή", "Ñandú", "e\u{301}", "ç\u{327}", "กำ", "தமிழ்",
        "שָׁלוֹם", "نور", "ك\u{64E}تب", "می\u{200C}خواهم", "क्\u{200D}ष", "র\u{200D}্য", "ශ්\u{200D}රී", "ക്\u{200D}",
        "नेपाल्\u{200C}",
        "\u{1820}\u{180B}\u{1821}", "👩‍👩‍👧 نور", "❤️", "👍🏽", "1️⃣", "#️⃣", "🏳️‍🌈", "👁️‍🗨️", "🧑🏿‍🦰", "☎︎", "🇰🇷",
        "🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}", "a\u{3000}b", "½", "€", "«x»", "\u{FFFD}", "#1",
    ])
    func whatPeopleWriteIsAName(name: String) throws {
        #expect(try UserID(name).text == name)
        #expect(try RoomName(name).text == name && DeviceName(name).text == name)
    }

    /// Alone, at the end, and in between.
    @Test(arguments: [
        "\u{3164}", "\u{115F}", "\u{1160}", "\u{FFA0}", "\u{200B}", "\u{2060}", "\u{FEFF}", "\u{AD}", "\u{2800}",
        "\u{202A}",
        "\u{202E}", "\u{2066}", "\u{2069}", "\u{200E}", "\u{200F}", "\u{61C}", "\u{E0041}", "\u{E0001}", "\u{E007F}",
        "\u{FE00}",
        "\u{FE0F}", "\u{FE0E}", "\u{E0100}", "\u{E01EF}", "\u{200C}", "\u{200D}", "\u{34F}", "\u{17B4}", "\u{180B}",
        "\u{180E}",
        "\u{2061}", "\u{206F}", "\u{FFF9}", "\u{1BCA0}", "\u{1D159}", "\u{1D173}", "\u{E000}", "\u{F0000}",
        "\u{10FFFD}",
        "\u{378}", "\u{7}", "\u{85}", "\u{2028}",
    ])
    func whatCannotBeSeenIsNone(hidden: String) {
        for name in [
            hidden, "a" + hidden, "a" + hidden + "b", hidden + "a", hidden + hidden, "보" + hidden + "라", "a " + hidden,
        ] {
            #expect(throws: NameError.self) { try UserID(name) }
            #expect(throws: NameError.self) { try RoomName(name) }
        }
    }

    /// No Swift literal can contain these.
    @Test(arguments: [0xFFFE, 0xFDD0, 0x1FFFF, 0x10FFFF] as [UInt32]) func noncharactersAreNone(code: UInt32) throws {
        let scalar = String(Character(try #require(Unicode.Scalar(code))))
        for name in [scalar, "a" + scalar + "b"] { #expect(throws: NameError.self) { try UserID(name) } }
    }

    @Test(arguments: [" ", "\u{3000}", "\u{A0}", "\u{301}", " \u{301} ", "\u{20E3}", "\u{2003}\u{2003}"])
    func whiteSpaceAndMarksAloneAreNone(name: String) {
        #expect(throws: NameError.self) { try UserID(name) }
    }

    @Test(arguments: [
        "1\u{FE0F}", "❤\u{FE0F}\u{FE0F}", "👩\u{200D}", "\u{200D}👩", "👩\u{200D}\u{200D}👩", "a\u{200D}👩", "ب\u{200C}",
        "\u{200C}ب",
        "ب\u{200C}\u{200C}ب", "ab\u{200C}cd", "中\u{200D}文", "क्\u{200D}\u{200D}ष", "中\u{E0101}",
        "🏴\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}", "🏴\u{E0078}\u{E0078}\u{E007F}", "🏳\u{E0067}\u{E0062}",
        "👍\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}",
    ])
    func whatMeansNothingThereIsHidden(name: String) {
        #expect(throws: NameError.self) { try UserID(name) }
    }

    /// Names that Redis has stored under an older rule can still be told apart, and be removed.
    @Test func whatIsStoredIsReadAsItIs() throws {
        #expect(try RoomName(stored: "\u{3164}").text == "\u{3164}")
        #expect(try UserID(stored: "a\u{202E}").text == "a\u{202E}")
        for name in ["", "a\u{0}", "a\u{2028}", String(repeating: "x", count: 129)] {
            #expect(throws: NameError.self) { try RoomName(stored: name) }
            #expect(throws: NameError.self) { try UserID(stored: name) }
        }
        #expect(throws: NameError.self) { try RoomName(stored: "{a}") }
    }
}
