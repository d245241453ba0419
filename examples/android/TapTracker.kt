// Tracks points through frames with a model that was exported to LiteRT (TensorFlow Lite):
//
//     tapsdk export tapir --target tflite -o tapir-tflite
//
//     dependencies { implementation("com.google.ai.edge.litert:litert:2.1.0") }
//
// NOT RUN YET ON ANDROID: it was written without a device at hand. On a JVM, with ONNX Runtime standing in for LiteRT,
// its tracks are those of Python; a test of this project shows it (tests/examples/test_phones.py).
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
// and are pulled to xy (Flow.kt, to be copied with this file). Where they are then is what `step` of this class
// gives, with the certainty of that place, and is `previous` for the frame after. Without the entry, xy is both, and
// certainty is the product of what the logits say. Confidence is what visibility.calibration makes of it.
//
// The code goes by the roles in the manifest, so that it runs other models, too. What a manifest asks for and this
// class does not do, it refuses with an IllegalArgumentException.

package org.tapsdk.examples

import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.TensorBuffer
import java.io.File
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import org.json.JSONArray
import org.json.JSONObject

/**
 * A point in a frame. Pixels: (0, 0) is the outer corner of the top-left one, its centre is (0.5, 0.5).
 *
 * confidence: that the point can be seen and that (x, y) is close to it, in [0, 1].
 */
data class TrackedPoint(val id: Int, val x: Double, val y: Double, val confidence: Double, val visible: Boolean)

/**
 * Tracks points that may come and go. Call it from one thread at a time, and close it at the end.
 *
 *     val tracker = TapTracker(directory)
 *     val ids = tracker.add(listOf(120.0 to 80.0))   // pixels of the frame that step() gets next
 *     val points = tracker.step(frame)
 *
 * artifact: the directory that the export wrote, in the file system: assets must be copied there first.
 */
class TapTracker(private val artifact: File, private val accelerator: Accelerator = Accelerator.CPU) : AutoCloseable {
    private val manifest = Manifest(JSONObject(File(artifact, "manifest.json").readText()))
    private val models = HashMap<String, CompiledModel>() // by stage
    private var ids = listOf<Int>()
    private var added = listOf<TrackedPoint>()
    private var nextId = 0

    // Of the points, by tensor; then zeros up to `capacity`. `spare` is what the next step writes: the two take turns,
    // so that the state stays where the engine wants it.
    private var rows = mapOf<String, TensorBuffer>()
    private var spare = mapOf<String, TensorBuffer>()
    private var capacity = 0

    // If points follow the picture: pyramid of the last frame, and by id the texture around each where it joined.
    private var before = listOf<Luminance>()
    private var textures = mapOf<Int, Double>()

    /** Adds points (x, y), pixels of the frame that [step] gets next, and returns their ids. */
    fun add(points: List<Pair<Double, Double>>): List<Int> {
        val joined = points.mapIndexed { i, (x, y) -> TrackedPoint(nextId + i, x, y, 1.0, true) }
        nextId += points.size
        added = added + joined
        return joined.map { it.id }
    }

    /** Stops tracking these points; the others are not affected. */
    fun remove(gone: Set<Int>) {
        added = added.filter { it.id !in gone }
        val kept = ids.indices.filter { ids[it] !in gone }
        if (kept.size == ids.size) return
        val values = read(rows)
        setRows(kept.size, listOf(Source(values, capacity, kept)))
        ids = kept.map { ids[it] }
    }

    /** Where the points are in the next frame, in the order in which they were added. */
    fun step(frame: Frame): List<TrackedPoint> {
        val (height, width) = manifest.frameSize
        val pixels = frame.resized(height, width, manifest.low, manifest.high)
        val (joined, followed) = added to if (before.isEmpty()) 0 else ids.size
        if (joined.isNotEmpty()) {
            val begun = Source(begin(pixels, frame), bucket(joined.size), joined.indices.toList())
            setRows(ids.size + joined.size, listOf(Source(read(rows), capacity, ids.indices.toList()), begun))
        }
        ids = ids + joined.map { it.id }
        added = listOf()
        if (ids.isEmpty()) return listOf()

        val step = manifest.stage("step")
        val input = buffers("step", capacity, mapOf(step.input("frame") to pixels))
        model("step").run(input + rows, spare, step.entryPoint(capacity))
        input.values.forEach { it.close() }
        val found = step.outputs.filter { it.role == "xy" || it.role == "logit" }
            .map { it.name to spare.getValue(it.name).readFloat() }.toMap()
        val estimate = found.getValue(step.output("xy"))
        val places = ids.indices.map { place(estimate, it) }
        val shares = ids.indices.map { shares(found, it) }
        val fused = manifest.flow?.let { fusedWithFlow(it, pixels, places, shares, followed) }
        val certainty = fused?.map { it.certainty } ?: shares.map { product(it.values) }
        val xy = estimate.copyOf()
        fused?.forEachIndexed { row, (place, _) ->
            xy[2 * row] = place.x.toFloat()
            xy[2 * row + 1] = place.y.toFloat()
        }
        takeTurns(xy)
        return points(xy, certainty, frame, joined)
    }

    override fun close() {
        (rows.values + spare.values).toSet().forEach { it.close() }
        models.values.forEach { it.close() }
    }

    /** By tensor, the rows of the points that join: query features from the frame that they were picked in. */
    private fun begin(pixels: FloatArray, frame: Frame): Map<String, FloatArray> {
        val (query, step) = listOf(manifest.stage("query"), manifest.stage("step"))
        val rows = bucket(added.size)
        val (scaleX, scaleY) = manifest.scale(frame)
        val xy = FloatArray(2 * rows)
        added.forEachIndexed { i, point ->
            xy[2 * i] = (point.x * scaleX).toFloat()
            xy[2 * i + 1] = (point.y * scaleY).toFloat()
        }
        val grids = if (query.inputs.any { it.role == "feature" }) {
            call("encode", rows, mapOf(manifest.stage("encode").input("frame") to pixels))
        } else {
            mapOf()
        }
        val told = call("query", rows, query.inputs.map { tensor ->
            tensor.name to when (tensor.role) {
                "points" -> xy
                "delay" -> FloatArray(rows) // the points are queried in this very frame
                else -> grids.getValue(tensor.name)
            }
        }.toMap())
        return step.inputs.filter { it.role != "frame" }.map { tensor ->
            tensor.name to when (tensor.role) {
                "previous" -> xy
                "active" -> FloatArray(rows) { if (it < added.size) 1f else 0f } // 1 for a point, 0 for padding
                else -> told[tensor.name] ?: FloatArray(tensor.shape(rows).product()) // state begins with zeros
            }
        }.toMap()
    }

    /** The state that the step wrote becomes its next input, and the old one is written over. */
    private fun takeTurns(xy: FloatArray) {
        val step = manifest.stage("step")
        val states = step.inputs.filter { it.role == "state" }.map { it.name }
        val (old, new) = listOf(rows, spare)
        rows = old + states.map { it to new.getValue("next_$it") }
        spare = new + states.map { "next_$it" to old.getValue(it) }
        step.inputs.filter { it.role == "previous" }.forEach { rows.getValue(it.name).writeFloat(xy) }
    }

    /** What certainty is the product of: sigmoid(sign * logit), by the logits' names. */
    private fun shares(found: Map<String, FloatArray>, row: Int) =
        manifest.logits.mapValues { (logit, sign) -> 1 / (1 + exp(-sign * found.getValue(logit)[row])) }

    /** Positions that follow the picture since the frame before, which the first `followed` points were in. */
    private fun fusedWithFlow(
        flow: FlowFusion, pixels: FloatArray, estimates: List<Place>, shares: List<Map<String, Double>>, followed: Int
    ): List<Fused> {
        val (height, width) = manifest.frameSize
        val previous = rows.getValue(manifest.stage("step").input("previous")).readFloat()
        val now = flow.pyramid(pixels, height, width)
        val starts = ids.indices.map { place(previous, it) }
        textures = ids.zip(starts).map { (id, start) ->
            id to (textures[id] ?: flow.textureAround(now, start, manifest.space))
        }.toMap()
        val fused = ids.mapIndexed { row, id ->
            val start = starts[row]
            val moved = if (row < followed) flow.follow(before, now, start, manifest.space) else Followed(start, 0.0)
            val near = product((shares[row] - flow.hidden).values)
            flow.fuse(moved, textures.getValue(id), Sighting(estimates[row], shares[row].getValue(flow.hidden), near))
        }
        before = now
        return fused
    }

    private fun place(xy: FloatArray, row: Int) = Place(xy[2 * row].toDouble(), xy[2 * row + 1].toDouble())

    private fun points(
        xy: FloatArray, certainty: List<Double>, frame: Frame, joined: List<TrackedPoint>
    ): List<TrackedPoint> {
        val (scaleX, scaleY) = manifest.scale(frame)
        val exact = if (manifest.queryFrame == "exact") joined.map { it.id to it }.toMap() else mapOf()
        return ids.mapIndexed { row, id ->
            exact[id] ?: run {
                val (x, y) = listOf(xy[2 * row] / scaleX, xy[2 * row + 1] / scaleY)
                TrackedPoint(id, x, y, manifest.confidence(certainty[row]), certainty[row] > manifest.threshold)
            }
        }
    }

    /** The smallest number of rows that the files take and that `count` points fit into. */
    private fun bucket(count: Int): Int {
        val buckets = manifest.buckets
        return buckets.firstOrNull { it >= count }
            ?: error("$count points are too many: this artifact takes ${buckets.last()}")
    }

    /** Tensors by name, with `capacity` rows each, of which those at `index` are wanted. */
    private class Source(val values: Map<String, FloatArray>, val capacity: Int, val index: List<Int>)

    /** When points come or go: the rows become those of several sources, in order, and zeros up to a bucket. */
    private fun setRows(count: Int, sources: List<Source>) {
        val step = manifest.stage("step")
        val size = if (count > 0) bucket(count) else 0
        val wanted = sources.filter { it.index.isNotEmpty() }
        val carried = step.inputs.filter { it.role != "frame" && count > 0 }
        val values = carried.map { it.name to pick(it, wanted, size) }.toMap()
        (rows.values + spare.values).toSet().forEach { it.close() }
        rows = buffers("step", size, values)
        val entry = step.entryPoint(size)
        val names = if (count > 0) step.outputs.map { it.name } else listOf()
        spare = names.map { it to model("step").createOutputBuffer(it, entry) }.toMap()
        capacity = size
    }

    private fun pick(tensor: Tensor, sources: List<Source>, size: Int): FloatArray {
        val axis = tensor.shape.indexOf("N")
        if (axis < 0) return sources.first().values.getValue(tensor.name) // of the video, not of a point
        val shape = tensor.shape(size)
        val (outer, inner) = listOf(shape.take(axis).product(), shape.drop(axis + 1).product())
        val picked = FloatArray(shape.product())
        var to = 0
        for (source in sources) {
            val values = source.values.getValue(tensor.name)
            for (from in source.index) {
                for (block in 0 until outer) {
                    val start = (block * source.capacity + from) * inner
                    values.copyInto(picked, (block * size + to) * inner, start, start + inner)
                }
                to++
            }
        }
        return picked
    }

    /** Runs a stage on arrays, and gives all of its outputs. */
    private fun call(stage: String, rows: Int, inputs: Map<String, FloatArray>): Map<String, FloatArray> {
        val (model, spec) = model(stage) to manifest.stage(stage)
        val entry = spec.entryPoint(rows)
        val given = buffers(stage, rows, inputs)
        val found = spec.outputs.map { it.name to model.createOutputBuffer(it.name, entry) }.toMap()
        model.run(given, found, entry)
        return read(found).also { (given.values + found.values).forEach { it.close() } }
    }

    private fun buffers(stage: String, rows: Int, values: Map<String, FloatArray>): Map<String, TensorBuffer> {
        val entry = manifest.stage(stage).entryPoint(rows)
        return values.mapValues { (name, array) ->
            model(stage).createInputBuffer(name, entry).also { it.writeFloat(array) }
        }
    }

    private fun read(buffers: Map<String, TensorBuffer>) = buffers.mapValues { it.value.readFloat() }

    private fun model(stage: String) = models.getOrPut(stage) {
        val path = manifest.stage(stage).path ?: error("no .tflite file for stage $stage: export with --target tflite")
        CompiledModel.create(File(artifact, path).path, CompiledModel.Options(accelerator))
    }
}

/** A frame: pixels [height, width] as 0xAARRGGBB, as `Bitmap.getPixels` gives them. */
class Frame(val width: Int, val height: Int, private val argb: IntArray) {
    /**
     * [height, width, 3], pixels averaged with triangular weights, as `tapkernels.resize_normalize`.
     *
     * low, high: what 0 and 255 become.
     */
    fun resized(outHeight: Int, outWidth: Int, low: Float, high: Float): FloatArray {
        val scale = (high - low) / 255
        val (down, across) = listOf(triangleWeights(height, outHeight), triangleWeights(width, outWidth))
        val out = FloatArray(outHeight * outWidth * 3)
        val row = FloatArray(width * 3)
        var to = 0
        for (rows in down) {
            row.fill(0f)
            rows.weights.forEachIndexed { i, weight ->
                val start = (rows.first + i) * width
                for (x in 0 until width) {
                    val pixel = argb[start + x]
                    row[3 * x] += weight * (pixel shr 16 and 255)
                    row[3 * x + 1] += weight * (pixel shr 8 and 255)
                    row[3 * x + 2] += weight * (pixel and 255)
                }
            }
            for (columns in across) {
                for (channel in 0 until 3) {
                    var sum = 0f
                    columns.weights.forEachIndexed { i, weight ->
                        sum += weight * row[3 * (columns.first + i) + channel]
                    }
                    out[to++] = sum * scale + low
                }
            }
        }
        return out
    }
}

private class Run(val first: Int, val weights: FloatArray)

/** For each output pixel, the run of input pixels that it averages, with weights of sum 1. */
private fun triangleWeights(size: Int, outSize: Int): List<Run> {
    val scale = size.toDouble() / outSize
    val reach = max(scale, 1.0)
    return List(outSize) { out ->
        val centre = (out + 0.5) * scale
        val first = max(0, ceil(centre - reach - 0.5).toInt())
        val last = min(size - 1, floor(centre + reach - 0.5).toInt())
        val weights = (first..last).map { max(0.0, 1 - abs(it + 0.5 - centre) / reach) }
        Run(first, FloatArray(weights.size) { (weights[it] / weights.sum()).toFloat() })
    }
}

private const val SCHEMA = 3

/** What can be handed to each stage, by role. */
private val ROLES = mapOf(
    "encode" to listOf("frame"),
    "query" to listOf("feature", "points", "delay"),
    "step" to listOf("frame", "query", "previous", "active", "state")
)

private val COUNT = "a count" to { value: Any? -> value is Int && value > 0 }
private val NUMBER = "a number from 0" to { value: Any? -> value is Number && value.toDouble() >= 0 }
private val RAMP = "two numbers that grow" to { value: Any? -> pair(value).let { (low, high) -> low < high } }
private val PAIR = "two numbers from 0" to { value: Any? -> pair(value).let { (a, b) -> min(a, b) >= 0 } }
private val NAME = "a name" to { value: Any? -> value is String }

/** Entries of `flow`, and what each has to be. */
private val FLOW = mapOf(
    "radius" to COUNT, "levels" to COUNT, "slip" to RAMP, "shown" to RAMP, "pull" to NUMBER, "sure" to RAMP,
    "leap" to RAMP, "apart" to RAMP, "texture" to RAMP, "doubt" to PAIR, "hidden" to NAME
)

/** NaN for what is no pair of numbers. */
private fun pair(value: Any?) =
    if (value is JSONArray && value.length() == 2) {
        value.optDouble(0) to value.optDouble(1)
    } else {
        Double.NaN to Double.NaN
    }

/** The manifest, as far as it is needed here. Throws IllegalArgumentException for what this class does not do. */
private class Manifest(table: JSONObject) {
    private val model = table.optString("model")

    init {
        val schema = table.opt("schema")
        ensure(schema == SCHEMA) { "it has schema $schema; this class reads schema $SCHEMA: export the model again" }
        val kind = table.getJSONObject("program").getString("kind")
        ensure(kind == "causal") { "its program is \"$kind\", and this class runs causal ones alone, frame by frame" }
    }

    private val frames = table.getJSONObject("frames")
    private val points = table.getJSONObject("points")
    val frameSize = frames.getJSONArray("size").ints()
    val space = points.getJSONArray("space").ints().let { (height, width) ->
        Space(height.toDouble(), width.toDouble())
    }
    val queryFrame = choice(points, "query_frame", "model", "exact")
    val buckets = points.optJSONObject("buckets")?.optJSONArray("tflite")?.ints()?.sorted() ?: listOf()

    // What 0 and 255 become.
    private val range = frames.optJSONArray("range")
    val low = range?.getDouble(0)?.toFloat() ?: -1f
    val high = range?.getDouble(1)?.toFloat() ?: 1f

    private val stages = table.getJSONObject("stages").let { all ->
        all.keys().asSequence().map { it to Stage(all.getJSONObject(it)) }.toMap()
    }

    // certainty = product over logits of sigmoid(sign * logit); visible = certainty > threshold
    private val visibility = table.getJSONObject("visibility")
    val threshold = visibility.optDouble("threshold", 0.5)
    val logits = visibility.getJSONObject("logits").let { all ->
        all.keys().asSequence().map { it to all.getDouble(it) }.toMap()
    }
    private val calibration = visibility.optJSONArray("calibration")?.let { all ->
        (0 until all.length()).map { pair(all.get(it)) }
    } ?: listOf()

    val flow = table.optJSONObject("flow")?.let { flow ->
        val unknown = flow.keys().asSequence().toSet() - FLOW.keys
        ensure(unknown.isEmpty()) { "flow has the entries $unknown, which this class does not know" }
        for ((name, kind) in FLOW) {
            val (called, fits) = kind
            ensure(fits(flow.opt(name))) { "flow.$name is ${flow.opt(name)}, not $called" }
        }
        FlowFusion(flow).also {
            val known = logits.keys.joinToString()
            ensure(it.hidden in logits) { "flow.hidden is \"${it.hidden}\", and visibility knows $known" }
        }
    }

    init {
        choice(frames, "layout", "THWC")
        choice(points, "join", "query", "start") // of whole videos; live, points join in the frame they are picked in
        val multiple = frames.opt("multiple") ?: JSONObject.NULL
        ensure(multiple == JSONObject.NULL) { "frames.multiple is $multiple, and this class squashes to one size" }
        ensure(low < high) { "frames.range [$low, $high] does not grow" }
        ensure(buckets.isNotEmpty()) { "it has no points.buckets for LiteRT: export it with --target tflite" }
        for ((name, roles) in ROLES) {
            for (tensor in stages[name]?.inputs ?: listOf()) {
                ensure(tensor.role in roles) {
                    "stage $name wants a tensor of the role \"${tensor.role}\", which this class does not have"
                }
            }
        }
        if (flow != null) {
            val isUsual = low == -1f && high == 1f
            ensure(isUsual) { "flow needs frames in the range [-1, 1], not [$low, $high]" }
            ensure(stage("step").inputs.any { it.role == "previous" }) {
                "flow needs an input of the role \"previous\" in stage step"
            }
        }
    }

    fun stage(name: String) = stages.getValue(name)

    /** What is reported for a certainty: on straight lines between pairs (certainty, confidence), if there are any. */
    fun confidence(certainty: Double): Double {
        val next = calibration.indexOfFirst { certainty <= it.first }
        if (next < 1) return certainty
        val (from, to) = calibration[next - 1] to calibration[next]
        return from.second + (certainty - from.first) / (to.first - from.first) * (to.second - from.second)
    }

    /** What (x, y) pixels of the frame are multiplied with for the space of the points. */
    fun scale(frame: Frame) = space.width / frame.width to space.height / frame.height

    /** An entry with one of these values, the first of them if it is left out. */
    private fun choice(table: JSONObject, entry: String, vararg known: String): String {
        val value = table.optString(entry, known.first())
        ensure(value in known) { "$entry is \"$value\", and this class knows ${known.joinToString()}" }
        return value
    }

    private fun ensure(isSo: Boolean, complaint: () -> String) =
        require(isSo) { "$model cannot run here: ${complaint()}" }
}

private class Stage(table: JSONObject) {
    val inputs = table.getJSONArray("inputs").objects().map { Tensor(it) }
    val outputs = table.getJSONArray("outputs").objects().map { Tensor(it) }
    val path: String? = table.getJSONObject("files").optJSONObject("tflite")?.getString("path")

    fun input(role: String) = inputs.first { it.role == role }.name

    fun output(role: String) = outputs.first { it.role == role }.name

    /** Name of the signature for a number of rows. */
    fun entryPoint(rows: Int) = if ((inputs + outputs).any { "N" in it.shape }) "points_$rows" else "main"
}

/** shape holds sizes, "N" for the number of rows, and parts of the frame's sides, such as "H/8". */
private class Tensor(table: JSONObject) {
    val name: String = table.getString("name")
    val role: String = table.getString("role")

    init {
        val dtype = table.optString("dtype", "float32")
        require(dtype == "float32") { "$name is $dtype; this class runs float32 artifacts" }
    }

    val shape = table.getJSONArray("shape").let { all -> List(all.length()) { all.get(it).toString() } }

    fun shape(rows: Int) = shape.map { if (it == "N") rows else it.toInt() }
}

private fun product(shares: Collection<Double>) = shares.fold(1.0) { product, share -> product * share }

private fun List<Int>.product() = fold(1) { product, size -> product * size }

private fun JSONArray.ints() = List(length()) { getInt(it) }

private fun JSONArray.objects() = List(length()) { getJSONObject(it) }
