import ChatCore
import ChatJSON
import ChatWire
import Testing

@testable import ChatGateway

/// Compares `openapi.json` with the code: every route is described, and nothing else.
struct OpenAPITests {
    private func document() throws -> JSONValue {
        let file = try #require(WebPage.files["/openapi.json"])
        return try JSONValue(parsing: file.bytes)
    }

    private func operations(_ document: JSONValue) throws -> Set<String> {
        let paths = try #require(document["paths"]?.object)
        var found: Set<String> = []
        for (path, item) in paths {
            for (method, _) in try #require(item.object) where method != "parameters" {
                found.insert("\(method.uppercased()) \(path)")
            }
        }
        return found
    }

    @Test func everyRouteIsDescribedAndEveryDescribedRouteIsThere() throws {
        var served: Set<String> = []
        for route in try servedRoutes() {
            let path = route.path.split(separator: "/").map { $0.hasPrefix(":") ? "{\($0.dropFirst())}" : String($0) }
            for method in route.methods { served.insert("\(method) /\(path.joined(separator: "/"))") }
        }
        // Of the static files only those that others use; the rest belongs to the page.
        for path in ["/", "/martlet.js", "/martlet.d.ts", "/openapi.json"] where WebPage.files[path] != nil {
            served.insert("GET \(path)")
        }
        #expect(try operations(document()) == served)
    }

    @Test func theErrorsDescribedAreThoseThatThereAre() throws {
        let schema = try #require(try document()["components"]?["schemas"]?["Error"]?["properties"]?["error"])
        let names = schema["properties"]?["name"]?["enum"]?.array?.compactMap(\.string)
        let codes = schema["properties"]?["code"]?["enum"]?.array?.compactMap(\.integer)
        let known = WireError.Code.allCases.filter { code in
            switch code {
            // Only requests of a session are answered with these.
            case .binaryFrame, .unknownType, .notJoined, .tooManyRooms: false
            default: true
            }
        }
        #expect(names == known.map(\.name))
        #expect(codes == known.map(\.rawValue))
    }

    @Test func theBoundsDescribedAreTheDefaults() throws {
        let parameters = try #require(try document()["components"]?["parameters"])
        #expect(parameters["limit"]?["schema"]?["maximum"]?.integer == Limits().historyPage)
        #expect(parameters["cursor"]?["schema"]?["maxLength"]?.integer == MartletV1Codec.maxCursorBytes)
    }
}
