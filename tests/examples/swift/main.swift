// Says of the table of cases in the first argument what tests/golden/flow_cases.py calls Answers, as JSON.
// To be compiled together with examples/ios/Flow.swift. NOT RUN YET: no Swift compiler was at hand.

import Foundation

struct Table: Decodable {
    let pictures: [String: Picture]
    let follow: [FollowCase]
    let fuse: [FuseCase]
}

struct Picture: Decodable {
    let size: [Int]
    let rows: [String]

    func pyramid(_ flow: FlowFusion) -> [Luminance] {
        let bytes = rows.flatMap { [UInt8](Data(base64Encoded: $0)!) }
        return flow.pyramid(bytes.map { Float($0) / 127.5 - 1 }, height: size[0], width: size[1])
    }
}

struct FollowCase: Decodable {
    let flow: FlowFusion
    let before, after: String
    let space: [Double]
    let points: [Point]
}

struct FuseCase: Decodable {
    let flow: FlowFusion
    let points: [Point]
}

struct Point: Decodable {
    let xy, followed: [Double?]?
    let missed: Double?
    let estimate: [Double?]
    let confidence: Double
}

struct Moved: Encodable {
    let moved: [[Double?]]
    let missed: [Double?]
    let fused: [[Double?]]
}

struct Answers: Encodable {
    let follow: [Moved]
    let fuse: [[[Double?]]]
}

func place(_ xy: [Double?]) -> Place { Place(x: xy[0] ?? .nan, y: xy[1] ?? .nan) }

func number(_ value: Double) -> Double? { value.isFinite ? value : nil }

func numbers(_ at: Place) -> [Double?] { [number(at.x), number(at.y)] }

func fused(_ flow: FlowFusion, _ from: Followed, _ point: Point) -> [Double?] {
    numbers(flow.fuse(from, place(point.estimate), confidence: point.confidence))
}

let table = try JSONDecoder().decode(Table.self, from: Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[1])))
let follow = table.follow.map { (each: FollowCase) -> Moved in
    let before = table.pictures[each.before]!.pyramid(each.flow), after = table.pictures[each.after]!.pyramid(each.flow)
    let space = Space(height: each.space[0], width: each.space[1])
    let found = each.flow.follow(before, after, each.points.map { place($0.xy!) }, in: space)
    return Moved(
        moved: found.map { numbers($0.place) }, missed: found.map { number($0.missed) },
        fused: zip(found, each.points).map { fused(each.flow, $0, $1) })
}
let fuse = table.fuse.map { (each: FuseCase) -> [[Double?]] in
    each.points.map { fused(each.flow, Followed(place: place($0.followed!), missed: $0.missed ?? .infinity), $0) }
}
let answer = try JSONEncoder().encode(Answers(follow: follow, fuse: fuse))
print(String(decoding: answer, as: UTF8.self))
