// Tracks points through frames with a model that was exported to Core ML:
//
//     tapsdk export tapir --target coreml -o tapir-coreml
//
// Needs iOS 18 or macOS 15, for models with several functions.
//
// NOT RUN YET, AND NOT COMPILED: it was written without a Mac at hand. Its syntax and the names in it are tested
// (tests/examples/test_phones.py); examples/web/tracker.js and examples/android/TapTracker.kt do the same, and run.
//
// What goes in and out, tensor by tensor, all float32. N: rows, one per point; H, W: the frame's sides. Every `next_`
// output is the input of that name for the frame after.
//
// stage   way  tensor          shape                 role
// encode  in   frame           [1, H, W, 3]          frame     RGB in the manifest's range
// encode  out  high            [1, H/4, W/4, 48]     feature
// encode  out  low             [1, H/8, W/8, 128]    feature
// query   in   high            [1, H/4, W/4, 48]     feature
// query   in   low             [1, H/8, W/8, 128]    feature
// query   in   xy              [N, 2]                points    in the space of the manifest's points
// query   out  features        [N, 176]              query     stays with the point as long as it is tracked
// step    in   frame           [1, H, W, 3]          frame
// step    in   features        [N, 176]              query
// step    in   previous        [N, 2]                previous  where points were before, at first the query points
// step    in   narrow_0        [5, N, 2, 128]        state     zeros at first
// step    in   wide_0          [5, N, 2, 512]        state
// step    in   narrow_1        [5, N, 2, 128]        state
// step    in   wide_1          [5, N, 2, 512]        state
// step    in   narrow_2        [5, N, 2, 128]        state
// step    in   wide_2          [5, N, 2, 512]        state
// step    out  xy              [N, 2]                xy        the model's estimates, in that space
// step    out  occlusion       [N]                   logit
// step    out  expected_dist   [N]                   logit
// step    out  next_narrow_0   [5, N, 2, 128]        state
// step    out  next_wide_0     [5, N, 2, 512]        state
// step    out  next_narrow_1   [5, N, 2, 128]        state
// step    out  next_wide_1     [5, N, 2, 512]        state
// step    out  next_narrow_2   [5, N, 2, 128]        state
// step    out  next_wide_2     [5, N, 2, 512]        state
//
// Where the manifest has an entry `flow`, as here, xy is an estimate: from frame to frame points follow the picture,
// and are pulled to xy (Flow.swift, to be copied with this file). Where they are then is what `step` of this class
// gives, with the certainty of that place, and is `previous` for the frame after. Without the entry, xy is both, and
// certainty is the product of what the logits say. Confidence is what visibility.calibration makes of it.
//
// The code goes by the roles in the manifest, so that it runs other models, too. What a manifest asks for and this
// class does not do, it refuses with a TapError.

import CoreML
import CoreVideo
import Foundation

/// A point in a frame. Pixels: (0, 0) is the outer corner of the top-left one, its centre is (0.5, 0.5).
public struct TrackedPoint {
    public let id: Int
    public let x, y: Double
    /// That the point can be seen and that (x, y) is close to it, in [0, 1].
    public let confidence: Double
    public let visible: Bool
}

/// Tracks points that may come and go. Call it from one thread or queue at a time.
///
///     let tracker = try await TapTracker(artifact: url)
///     let ids = tracker.add([(120, 80)])           // pixels of the frame that step() gets next
///     let points = try tracker.step(Frame(pixelBuffer))
public final class TapTracker {
    private let manifest: Manifest
    private let compiled: [String: URL]
    private let computeUnits: MLComputeUnits
    private var functions: [String: MLModel] = [:]  // by stage and entry point
    private var ids: [Int] = []
    private var rows: [String: MLMultiArray] = [:]  // of the points, then zeros up to a bucket
    private var added: [(id: Int, x: Double, y: Double)] = []
    private var nextID = 0

    // If points follow the picture: pyramid of the last frame, and by id the texture around each where it joined.
    private var before: [Luminance] = []
    private var textures: [Int: Double] = [:]

    /// artifact: the directory that the export wrote, with .mlpackage files, or .mlmodelc of the same names.
    public init(artifact: URL, computeUnits: MLComputeUnits = .all) async throws {
        let data = try Data(contentsOf: artifact.appendingPathComponent("manifest.json"))
        try JSONDecoder().decode(Header.self, from: data).check()
        let manifest = try JSONDecoder().decode(Manifest.self, from: data)
        try manifest.check()
        self.manifest = manifest
        self.computeUnits = computeUnits
        var compiled: [String: URL] = [:]
        for (name, stage) in manifest.stages {
            guard let path = stage.files["coreml"]?.path else { continue }
            let package = artifact.appendingPathComponent(path)
            let ready = package.deletingPathExtension().appendingPathExtension("mlmodelc")
            let isReady = FileManager.default.fileExists(atPath: ready.path)
            compiled[name] = try await isReady ? ready : MLModel.compileModel(at: package)
        }
        self.compiled = compiled
    }

    /// Adds points, pixels of the frame that `step` gets next, and returns their ids.
    public func add(_ points: [(Double, Double)]) -> [Int] {
        let joined = points.enumerated().map { (id: nextID + $0.offset, x: $0.element.0, y: $0.element.1) }
        nextID += points.count
        added += joined
        return joined.map(\.id)
    }

    /// Stops tracking these points; the others are not affected.
    public func remove(_ gone: Set<Int>) throws {
        added.removeAll { gone.contains($0.id) }
        let kept = ids.indices.filter { !gone.contains(ids[$0]) }
        guard kept.count < ids.count else { return }
        rows = try pick([(rows, kept)])
        ids = kept.map { ids[$0] }
    }

    /// Where the points are in the next frame, in the order in which they were added.
    public func step(_ frame: Frame) throws -> [TrackedPoint] {
        let size = manifest.frames.size
        let pixels = frame.resized(height: size[0], width: size[1], range: manifest.frames.mapped)
        let image = array(pixels, shape: [1, size[0], size[1], 3])
        let input = [try name(of: "frame", in: manifest.stage("step").inputs): image]

        if !added.isEmpty {
            let begun = try begin(input, frame)
            rows = try pick([(rows, Array(ids.indices)), (begun, Array(added.indices))])
        }
        let (joined, followed) = (added, before.isEmpty ? 0 : ids.count)
        ids += joined.map(\.id)
        added = []
        guard !ids.isEmpty else { return [] }

        let out = try run("step", input.merging(rows) { first, _ in first }, points: bucket(ids.count))
        let (estimate, shares) = try read(out)
        let fused = try fusedWithFlow(estimate, shares, pixels, followed)
        let certainty = fused?.map(\.certainty) ?? shares.map { product($0.values) }
        var xy = estimate
        for (row, point) in (fused ?? []).enumerated() {
            xy[2 * row] = Float(point.place.x)
            xy[2 * row + 1] = Float(point.place.y)
        }
        rows = try nextRows(out, xy)
        return points(xy, certainty, frame, joined)
    }

    /// The rows of the points that join: query features from the frame that they were picked in, and zeros for a state.
    private func begin(_ input: [String: MLMultiArray], _ frame: Frame) throws -> [String: MLMultiArray] {
        let capacity = try bucket(added.count)
        let padding = capacity - added.count
        let scale = manifest.scale(from: frame)
        let xy = added.flatMap { [Float($0.x * scale.x), Float($0.y * scale.y)] }
        let points = array(xy + zeros(2 * padding), shape: [capacity, 2])
        let query = try manifest.stage("query"), step = try manifest.stage("step")

        let looksAtFrame = query.inputs.contains { $0.role == "feature" }
        var inputs = try looksAtFrame ? run("encode", input, points: capacity) : [:]
        for spec in query.inputs where spec.role == "points" { inputs[spec.name] = points }
        for spec in query.inputs where spec.role == "delay" {  // the points are queried in this very frame
            inputs[spec.name] = array(zeros(capacity), shape: [capacity])
        }
        let wanted = Set(query.inputs.map(\.name))
        let told = try run("query", inputs.filter { wanted.contains($0.key) }, points: capacity)

        var begun: [String: MLMultiArray] = [:]
        for spec in step.inputs where spec.role == "previous" { begun[spec.name] = points }
        for spec in step.inputs where spec.role == "active" {  // 1 for a point, 0 for padding
            begun[spec.name] = array(added.map { _ in Float(1) } + zeros(padding), shape: [capacity])
        }
        for spec in step.inputs where spec.role == "state" {
            let shape = spec.shape(points: capacity)
            begun[spec.name] = array(zeros(shape.reduce(1, *)), shape: shape)
        }
        return begun.merging(told) { _, told in told }
    }

    /// What `step` says: xy [N, 2], in the space of the manifest's points, and [N] what certainty is the product of:
    /// sigmoid(sign * logit), by the logits' names.
    private func read(_ out: [String: MLMultiArray]) throws -> (xy: [Float], shares: [[String: Double]]) {
        let xy = try name(of: "xy", in: manifest.stage("step").outputs)
        var shares = ids.map { _ in [String: Double]() }
        for (logit, sign) in manifest.visibility.logits {
            let values = MLShapedArray<Float>(converting: out[logit]!).scalars
            for row in ids.indices { shares[row][logit] = 1 / (1 + exp(-sign * Double(values[row]))) }
        }
        return (MLShapedArray<Float>(converting: out[xy]!).scalars, shares)
    }

    /// Positions that follow the picture since the frame before, which the first `followed` points were in; nil if the
    /// manifest wants none.
    private func fusedWithFlow(
        _ estimate: [Float], _ shares: [[String: Double]], _ pixels: [Float], _ followed: Int
    ) throws -> [Fused]? {
        guard let flow = manifest.flow else { return nil }
        let size = manifest.frames.size, space = manifest.points.size
        let places = { (xy: [Float]) in
            self.ids.indices.map { Place(x: Double(xy[2 * $0]), y: Double(xy[2 * $0 + 1])) }
        }
        let previous = rows[try name(of: "previous", in: manifest.stage("step").inputs)]!
        let starts = places(MLShapedArray<Float>(converting: previous).scalars), targets = places(estimate)
        let now = flow.pyramid(pixels, height: size[0], width: size[1])
        let texture = zip(ids, starts).map { id, start in
            textures[id] ?? flow.textureAround(now, [start], in: space)[0]
        }
        var moved: [Followed] = []
        if followed > 0 { moved = flow.follow(before, now, Array(starts[..<followed]), in: space) }
        moved += starts[followed...].map { Followed(place: $0, missed: 0) }
        let fused = ids.indices.map { (row: Int) -> Fused in
            let near = product(shares[row].filter { $0.key != flow.hidden }.values)
            let sighting = Sighting(place: targets[row], seen: shares[row][flow.hidden]!, near: near)
            return flow.fuse(moved[row], texture[row], sighting)
        }
        textures = Dictionary(uniqueKeysWithValues: zip(ids, texture))
        before = now
        return fused
    }

    /// The rows for the frame after this one. The state stays in Core ML's own arrays: nothing copies it.
    private func nextRows(_ out: [String: MLMultiArray], _ xy: [Float]) throws -> [String: MLMultiArray] {
        let step = try manifest.stage("step")
        var next = rows
        for spec in step.inputs where spec.role == "state" { next[spec.name] = out["next_" + spec.name] }
        for spec in step.inputs where spec.role == "previous" {
            next[spec.name] = array(xy, shape: [xy.count / 2, 2])
        }
        return next
    }

    private func points(
        _ xy: [Float], _ certainty: [Double], _ frame: Frame, _ joined: [(id: Int, x: Double, y: Double)]
    ) -> [TrackedPoint] {
        let scale = manifest.scale(from: frame)
        let asked = manifest.points.queryFrame == "exact" ? joined : []
        let exact = Dictionary(uniqueKeysWithValues: asked.map { ($0.id, $0) })
        return ids.enumerated().map { row, id in
            if let point = exact[id] {
                return TrackedPoint(id: id, x: point.x, y: point.y, confidence: 1, visible: true)
            }
            return TrackedPoint(
                id: id, x: Double(xy[2 * row]) / scale.x, y: Double(xy[2 * row + 1]) / scale.y,
                confidence: manifest.visibility.confidence(certainty[row]),
                visible: certainty[row] > manifest.visibility.threshold ?? 0.5)
        }
    }

    /// The smallest number of rows that the files take and that `count` points fit into.
    private func bucket(_ count: Int) throws -> Int {
        guard let buckets = manifest.points.buckets?["coreml"] else { return count }
        guard let fitting = buckets.sorted().first(where: { $0 >= count }) else {
            throw TapError("\(count) points are too many: this artifact takes \(buckets.max() ?? 0)")
        }
        return fitting
    }

    /// Rows of several sets, one after the other, and zeros up to a bucket. It copies: only when points come or go.
    private func pick(_ sources: [(rows: [String: MLMultiArray], index: [Int])]) throws -> [String: MLMultiArray] {
        let sources = sources.filter { !$0.index.isEmpty }
        guard let first = sources.first else { return [:] }
        let capacity = try bucket(sources.map(\.index.count).reduce(0, +))
        var picked: [String: MLMultiArray] = [:]
        let carried: Set = ["query", "previous", "active", "state"]
        for spec in try manifest.stage("step").inputs where carried.contains(spec.role) {
            guard let axis = spec.shape.firstIndex(of: .points) else {
                picked[spec.name] = first.rows[spec.name]  // of the video, not of a point
                continue
            }
            let shape = spec.shape(points: capacity)
            let outer = shape[..<axis].reduce(1, *), inner = shape[(axis + 1)...].reduce(1, *)
            var values = zeros(outer * capacity * inner)
            var to = 0
            for source in sources {
                let old = MLShapedArray<Float>(converting: source.rows[spec.name]!)
                let scalars = old.scalars, count = old.shape[axis]
                for from in source.index {
                    for block in 0..<outer {
                        let start = (block * count + from) * inner, target = (block * capacity + to) * inner
                        values.replaceSubrange(target..<(target + inner), with: scalars[start..<(start + inner)])
                    }
                    to += 1
                }
            }
            picked[spec.name] = array(values, shape: shape)
        }
        return picked
    }

    private func run(_ stage: String, _ inputs: [String: MLMultiArray], points: Int) throws -> [String: MLMultiArray] {
        let provider = try MLDictionaryFeatureProvider(dictionary: inputs.mapValues { MLFeatureValue(multiArray: $0) })
        let found = try function(stage, points: points).prediction(from: provider)
        let names = try manifest.stage(stage).outputs.map(\.name)
        return Dictionary(uniqueKeysWithValues: names.map { ($0, found.featureValue(for: $0)!.multiArrayValue!) })
    }

    /// A stage for a number of rows. Files with buckets have a function for each.
    private func function(_ stage: String, points: Int) throws -> MLModel {
        let entry = try manifest.entryPoint(stage, points: points)
        if let model = functions[stage + entry] { return model }
        guard let url = compiled[stage] else {
            throw TapError("\(manifest.model) has no Core ML file for stage \(stage): export it with --target coreml")
        }
        let configuration = MLModelConfiguration()
        configuration.computeUnits = computeUnits
        if manifest.points.buckets?["coreml"] != nil { configuration.functionName = entry }
        let model = try MLModel(contentsOf: url, configuration: configuration)
        functions[stage + entry] = model
        return model
    }
}

public struct TapError: Error, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}

// MARK: - Frames

/// A frame in memory, 4 bytes a pixel.
public struct Frame {
    public let width, height: Int
    let bytes: [UInt8]  // [height, width, 4]
    let rgb: [Int]  // where red, green and blue lie in a pixel

    /// rgba: [height, width, 4].
    public init(width: Int, height: Int, rgba: [UInt8]) {
        (self.width, self.height, bytes, rgb) = (width, height, rgba, [0, 1, 2])
    }

    /// A camera's frame of the format kCVPixelFormatType_32BGRA.
    public init(_ buffer: CVPixelBuffer) throws {
        guard CVPixelBufferGetPixelFormatType(buffer) == kCVPixelFormatType_32BGRA else {
            throw TapError("frames must be of kCVPixelFormatType_32BGRA: set it in the output's videoSettings")
        }
        CVPixelBufferLockBaseAddress(buffer, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
        let (width, height) = (CVPixelBufferGetWidth(buffer), CVPixelBufferGetHeight(buffer))
        let base = CVPixelBufferGetBaseAddress(buffer)!, stride = CVPixelBufferGetBytesPerRow(buffer)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(width * height * 4)
        for y in 0..<height {
            let row = UnsafeRawPointer(base) + y * stride  // rows may be padded
            bytes.append(contentsOf: UnsafeRawBufferPointer(start: row, count: width * 4))
        }
        (self.width, self.height, self.bytes, rgb) = (width, height, bytes, [2, 1, 0])
    }

    /// [height, width, 3], each pixel an average weighted by a triangle, as `tapkernels.resize_normalize`.
    ///
    /// range: what 0 and 255 become.
    func resized(height outHeight: Int, width outWidth: Int, range: (low: Float, high: Float)) -> [Float] {
        let scale = (range.high - range.low) / 255
        let down = triangleWeights(height, outHeight), across = triangleWeights(width, outWidth)
        var out: [Float] = []
        out.reserveCapacity(outHeight * outWidth * 3)
        for rows in down {
            var row = [Float](repeating: 0, count: width * 3)
            for (i, weight) in rows.weights.enumerated() {
                let start = (rows.first + i) * width * 4
                for x in 0..<width {
                    for channel in 0..<3 {
                        row[3 * x + channel] += weight * Float(bytes[start + 4 * x + rgb[channel]])
                    }
                }
            }
            for columns in across {
                for channel in 0..<3 {
                    var sum: Float = 0
                    for (i, weight) in columns.weights.enumerated() {
                        sum += weight * row[3 * (columns.first + i) + channel]
                    }
                    out.append(sum * scale + range.low)
                }
            }
        }
        return out
    }
}

/// For each output pixel, the run of input pixels that it averages, with weights of sum 1.
private func triangleWeights(_ size: Int, _ outSize: Int) -> [(first: Int, weights: [Float])] {
    let scale = Double(size) / Double(outSize)
    let reach = max(scale, 1)
    return (0..<outSize).map { out in
        let centre = (Double(out) + 0.5) * scale
        let first = max(0, Int((centre - reach - 0.5).rounded(.up)))
        let last = min(size - 1, Int((centre + reach - 0.5).rounded(.down)))
        let weights = (first...last).map { max(0, 1 - abs(Double($0) + 0.5 - centre) / reach) }
        let total = weights.reduce(0, +)
        return (first, weights.map { Float($0 / total) })
    }
}

private func product(_ shares: Dictionary<String, Double>.Values) -> Double { shares.reduce(1, *) }

private func zeros(_ count: Int) -> [Float] { [Float](repeating: 0, count: count) }

private func array(_ values: [Float], shape: [Int]) -> MLMultiArray {
    MLMultiArray(MLShapedArray<Float>(scalars: values, shape: shape))
}

private func name(of role: String, in tensors: [Tensor]) throws -> String {
    guard let tensor = tensors.first(where: { $0.role == role }) else {
        throw TapError("the manifest has no tensor of role \(role): this model does not run frame by frame")
    }
    return tensor.name
}

// MARK: - The manifest, as far as it is needed here

private let readSchema = 3
private let flowEntries: Set = [
    "radius", "levels", "slip", "shown", "pull", "sure", "leap", "apart", "texture", "doubt", "hidden",
]

/// What can be handed to each stage, by role.
private let roles: [String: Set<String>] = [
    "encode": ["frame"],
    "query": ["feature", "points", "delay"],
    "step": ["frame", "query", "previous", "active", "state"],
]

/// What must be right before the rest can be read.
private struct Header: Decodable {
    let schema: Int?
    let program: Program?
    let flow: [String: Entry]?

    struct Program: Decodable {
        let kind: String
    }

    /// Whatever it is.
    struct Entry: Decodable {
        init(from decoder: Decoder) throws {}
    }

    func check() throws {
        let found = schema ?? 0
        try ensure(
            schema == readSchema,
            "it has schema \(found); this class reads schema \(readSchema): export the model again")
        let kind = program?.kind ?? ""
        try ensure(
            kind == "causal", "its program is \"\(kind)\", and this class runs causal ones alone, frame by frame")
        let unknown = Set((flow ?? [:]).keys).subtracting(flowEntries)
        try ensure(unknown.isEmpty, "flow has the entries \(unknown.sorted()), which this class does not know")
        let missing = flowEntries.subtracting((flow ?? [:]).keys)
        try ensure(flow == nil || missing.isEmpty, "flow has no entries \(missing.sorted()), which this class needs")
    }
}

private struct Manifest: Decodable {
    let model: String
    let frames: FrameSpec
    let points: PointSpec
    let visibility: Visibility
    let stages: [String: Stage]
    let flow: FlowFusion?

    /// Throws TapError for what this class does not do.
    func check() throws {
        // `join` is about whole videos; live, points join in the frame that they are picked in.
        let choices = [
            ("layout", frames.layout, ["THWC"]), ("join", points.join, ["query", "start"]),
            ("query_frame", points.queryFrame, ["model", "exact"]),
        ]
        for (entry, value, known) in choices {
            let value = value ?? known[0], listed = known.joined(separator: ", ")
            try ensure(known.contains(value), "\(entry) is \"\(value)\", and this class knows \(listed)")
        }
        let multiple = frames.multiple ?? 0
        try ensure(multiple == 0, "frames.multiple is \(multiple), and this class squashes to one size")
        let (low, high) = frames.mapped
        try ensure(low < high, "frames.range [\(low), \(high)] does not grow")
        for (name, known) in roles {
            for tensor in stages[name]?.inputs ?? [] {
                let role = tensor.role
                try ensure(
                    known.contains(role),
                    "stage \(name) wants a tensor of the role \"\(role)\", which this class does not have")
            }
        }
        for tensor in stages.values.flatMap({ $0.inputs + $0.outputs }) {
            let dtype = tensor.dtype ?? "float32"
            try ensure(dtype == "float32", "\(tensor.name) is \(dtype); this class runs float32 artifacts")
        }
        guard let flow else { return }
        try check(flow)
        try ensure(low == -1 && high == 1, "flow needs frames in the range [-1, 1], not [\(low), \(high)]")
        let follows = stages["step"]?.inputs.contains { $0.role == "previous" } ?? false
        try ensure(follows, "flow needs an input of the role \"previous\" in stage step")
    }

    private func check(_ flow: FlowFusion) throws {
        let ramps = [
            ("slip", flow.slip), ("shown", flow.shown), ("sure", flow.sure), ("leap", flow.leap),
            ("apart", flow.apart), ("texture", flow.texture),
        ]
        let doubt = [flow.doubt.first, flow.doubt.last]
        var entries: [(String, Any, String, Bool)] = [
            ("radius", flow.radius, "a count", flow.radius > 0),
            ("levels", flow.levels, "a count", flow.levels > 0),
            ("pull", flow.pull, "a number from 0", flow.pull >= 0),
            ("doubt", doubt, "two numbers from 0", doubt.allSatisfy { $0 >= 0 }),
        ]
        for (name, ramp) in ramps {
            entries.append((name, [ramp.first, ramp.last], "two numbers that grow", ramp.first < ramp.last))
        }
        for (name, value, called, fits) in entries {
            try ensure(fits, "flow.\(name) is \(value), not \(called)")
        }
        let logits = visibility.logits.keys.sorted().joined(separator: ", ")
        try ensure(
            visibility.logits[flow.hidden] != nil, "flow.hidden is \"\(flow.hidden)\", and visibility knows \(logits)")
    }

    func stage(_ name: String) throws -> Stage {
        guard let stage = stages[name] else { throw TapError("\(model) has no stage \(name)") }
        return stage
    }

    /// Name of the function for a number of rows.
    func entryPoint(_ name: String, points: Int) throws -> String {
        let stage = try self.stage(name)
        let depends = (stage.inputs + stage.outputs).contains { $0.shape.contains(.points) }
        return depends ? "points_\(points)" : "main"
    }

    /// What pixels of the frame are multiplied with for the space of the points.
    func scale(from frame: Frame) -> (x: Double, y: Double) {
        (points.size.width / Double(frame.width), points.size.height / Double(frame.height))
    }
}

private func ensure(_ isSo: Bool, _ complaint: @autoclosure () -> String) throws {
    guard isSo else { throw TapError("this artifact cannot run here: \(complaint())") }
}

private struct FrameSpec: Decodable {
    let size: [Int]  // (height, width)
    let multiple: Int?
    let range: [Float]?
    let layout: String?

    /// What 0 and 255 become.
    var mapped: (low: Float, high: Float) {
        guard let range else { return (-1, 1) }
        return range.count == 2 ? (range[0], range[1]) : (.nan, .nan)
    }
}

private struct PointSpec: Decodable {
    let space: [Int]  // (height, width) of the space that positions are in
    let join, queryFrame: String?
    let buckets: [String: [Int]]?

    enum CodingKeys: String, CodingKey {
        case space, join, buckets
        case queryFrame = "query_frame"
    }

    var size: Space { Space(height: Double(space[0]), width: Double(space[1])) }
}

/// certainty = product over logits of sigmoid(sign * logit); visible = certainty > threshold.
private struct Visibility: Decodable {
    let logits: [String: Double]
    let threshold: Double?
    /// Pairs (certainty, confidence).
    let calibration: [Ends]?

    /// What is reported for a certainty: on straight lines between the pairs, if there are any.
    func confidence(_ certainty: Double) -> Double {
        guard let knots = calibration, let next = knots.firstIndex(where: { certainty <= $0.first }), next > 0 else {
            return certainty
        }
        let (from, to) = (knots[next - 1], knots[next])
        return from.last + (certainty - from.first) / (to.first - from.first) * (to.last - from.last)
    }
}

private struct Stage: Decodable {
    let inputs, outputs: [Tensor]
    let files: [String: File]
}

private struct File: Decodable {
    let path: String
}

private struct Tensor: Decodable {
    let name: String
    let shape: [Dimension]
    let role: String
    let dtype: String?

    func shape(points: Int) -> [Int] {
        shape.map { if case .size(let size) = $0 { size } else { points } }
    }
}

/// A size, "N" for the number of points, or a part of the frame's sides, such as "H/8".
private enum Dimension: Decodable, Equatable {
    case size(Int), points, frame(String)

    init(from decoder: Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let size = try? container.decode(Int.self) {
            self = .size(size)
        } else {
            let text = try container.decode(String.self)
            self = text == "N" ? .points : .frame(text)
        }
    }
}
